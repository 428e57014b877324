//! What every HTTP front of the proxy shares, whatever protocol a client speaks.
//!
//! [`body`] carries bodies through without copying them, [`hop_by_hop`] and [`forwarded`] edit
//! header maps in place, [`reason`] names everything the proxy itself can answer. Nothing here
//! knows the configuration, a backend or a socket.

pub mod body;
pub mod forwarded;
pub mod hop_by_hop;
pub mod pause;
pub mod reason;
pub mod upload;

pub use body::{Body, End, Streaming, Watch};
pub use forwarded::Forwarded;
pub use pause::Pause;
pub use reason::Reason;
pub use upload::{Upload, UploadState};
