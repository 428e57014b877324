//! From bytes to requests.
//!
//! hyper parses; what it leaves open is decided here: which protocol a connection speaks
//! ([`http`]), what no message head may look like ([`head`], on the bytes as they come in
//! through [`guard`]), and how long anything may take ([`connection`]).

pub mod connection;
pub mod guard;
pub mod head;
pub mod http;
