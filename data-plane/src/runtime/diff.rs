//! Which listeners a new configuration opens, keeps and closes.
//!
//! A listener is its entry point's name, its address and whether it speaks TLS. Everything else
//! about an entry point applies to a running listener, so a change of a limit never loses a
//! connection.

use std::{net::SocketAddr, sync::Arc};

use super::compiled::CompiledSnapshot;

/// What makes two listeners the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerKey {
    /// The entry point.
    pub entry_point: Arc<str>,
    /// The configured address; its port may be 0.
    pub address: SocketAddr,
    /// Whether TLS is spoken.
    pub tls: bool,
}

/// The way from the listeners that are open to those that should be.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ListenerDiff {
    /// To open, first.
    pub open: Vec<ListenerKey>,
    /// To close, last.
    pub close: Vec<ListenerKey>,
}

/// The listeners that `snapshot` asks for.
pub fn wanted(snapshot: &CompiledSnapshot) -> Vec<ListenerKey> {
    let keys = snapshot.entry_points.iter().map(|entry_point| ListenerKey {
        entry_point: Arc::clone(&entry_point.name),
        address: entry_point.spec.address.0,
        tls: entry_point.spec.tls.is_some(),
    });
    keys.collect()
}

/// Compares what is open with what is wanted.
pub fn diff(open: &[ListenerKey], wanted: &[ListenerKey]) -> ListenerDiff {
    let without = |all: &[ListenerKey], those: &[ListenerKey]| {
        let rest = all.iter().filter(|key| !those.contains(key));
        rest.cloned().collect()
    };
    ListenerDiff { open: without(wanted, open), close: without(open, wanted) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, address: &str, tls: bool) -> ListenerKey {
        ListenerKey { entry_point: name.into(), address: address.parse().unwrap(), tls }
    }

    #[test]
    fn another_address_or_tls_is_another_listener() {
        let open = [
            key("kept", "0.0.0.0:0", false),
            key("moved", "0.0.0.0:81", false),
            key("secured", "0.0.0.0:82", false),
        ];
        let wanted = [
            key("kept", "0.0.0.0:0", false),
            key("moved", "0.0.0.0:91", false),
            key("secured", "0.0.0.0:82", true),
        ];
        assert_eq!(
            diff(&open, &wanted),
            ListenerDiff { open: wanted[1..].to_vec(), close: open[1..].to_vec() }
        );
    }
}
