//! Who listens where, and who would be in whose way.

use std::{collections::HashMap, net::IpAddr};

use super::Faults;
use crate::{
    diagnostic::code,
    document::{EntryPoint, Protocol, Spanned},
    value::{EntryPointName, Labels, ListenAddress},
};

/// Addresses that are taken, by port.
#[derive(Default)]
pub(super) struct Listening<'d> {
    tcp: HashMap<u16, Vec<Taken<'d>>>,
    udp: HashMap<u16, Vec<Taken<'d>>>,
}

struct Taken<'d> {
    name: &'d EntryPointName,
    address: IpAddr,
    /// The proxies that run it; all when absent.
    labels: Option<Labels>,
}

/// Entry points on one port beyond this are not compared: nobody has so many, and comparing them
/// all takes the square of their number.
const MOST: usize = 256;

impl<'d> Listening<'d> {
    /// Takes an address, and reports who has it already.
    pub(super) fn add(
        &mut self,
        faults: &mut Faults<'_>,
        (name, written): (&'d EntryPointName, &'d EntryPoint),
        address: Spanned<ListenAddress>,
    ) {
        let socket = address.value.0;
        if socket.port() == 0 {
            return;
        }
        let is_udp = written.protocol.is_some_and(|protocol| protocol.value == Protocol::Udp);
        let taken = if is_udp { &mut self.udp } else { &mut self.tcp };
        let taken = taken.entry(socket.port()).or_default();
        let labels = written
            .proxies
            .as_ref()
            .map(|listed| listed.iter().map(|label| label.value.clone()).collect::<Labels>());
        let other = taken.iter().take(MOST).find(|other| {
            meet(other.address, socket.ip()) && share_proxies(other, labels.as_ref())
        });
        if let Some(other) = other {
            let message = if other.address == socket.ip() {
                format!("{} is the address of `{}` already", address.value, other.name)
            } else {
                let port = socket.port();
                let ListenAddress(theirs) = ListenAddress((other.address, port).into());
                format!("{} is within {theirs}, where `{}` listens", address.value, other.name)
            };
            let help = "give one of the two another port, or `proxies` of its own to each";
            faults.error(address.at, code::ADDRESS_TAKEN, message, help);
        }
        taken.push(Taken { name, address: socket.ip(), labels });
    }

    /// Who listens on a UDP port.
    pub(super) fn on_udp(&self, port: u16) -> Option<&EntryPointName> {
        self.udp.get(&port)?.first().map(|taken| taken.name)
    }
}

/// Whether one socket would get what another is for. `[::]` also listens on every IPv4 address.
fn meet(one: IpAddr, two: IpAddr) -> bool {
    let covers = |all: IpAddr, one: IpAddr| match all {
        IpAddr::V4(all) => all.is_unspecified() && one.is_ipv4(),
        IpAddr::V6(all) => all.is_unspecified(),
    };
    one == two || covers(one, two) || covers(two, one)
}

/// Whether a proxy could run both without being told twice what it holds. Each has a list and no
/// label is in both: then they run apart.
fn share_proxies(other: &Taken<'_>, labels: Option<&Labels>) -> bool {
    !matches!((&other.labels, labels), (Some(one), Some(two)) if !one.meets(two))
}
