//! HTTP/1.1 messages as bytes, both ways: pure, without a socket and without a clock.
//!
//! [`head`] reads request and status lines with their fields, [`chunked`] and [`body`] find where
//! bodies end, [`encode`] writes both. All of it is strict where two readers of the same bytes
//! could see two different messages: bare line feeds, folded lines, white space before a colon,
//! lengths said twice or in two ways are refused (RFC 9112, 2.2, 5, 6.3 and 11), never repaired.

pub mod body;
pub mod chunked;
pub mod encode;
pub mod head;
#[cfg(any(test, feature = "oracle"))]
pub mod oracle;
pub(crate) mod syntax;

pub use body::{BodyDecoder, BodyLength, Step};
pub use head::{Fault, Limits, Progress, RequestHead, ResponseHead, Status};
pub use syntax::members;
