//! When a proxy refuses requests to protect itself, as written.

use super::{Spanned, record};
use crate::value::{ByteSize, PositiveDuration};

record! {
    /// When a proxy refuses requests to protect itself. It answers 503 at once, which costs it
    /// little, so that it goes on serving those that it takes.
    pub struct Overload {
        /// Whether it is on.
        enabled: Spanned<bool> = "false",
        /// The memory of the process from which on it refuses.
        max_memory: Spanned<ByteSize>,
        /// How late its workers may be; above that it refuses a growing share.
        max_delay: Spanned<PositiveDuration> = "100ms",
    }
}
