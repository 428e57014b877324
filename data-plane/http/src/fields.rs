//! The header fields of one message, in the order and spelling they came in.
//!
//! One run of bytes, the lines as they are sent, and a list of places in it, both reused from
//! message to message: reading a head copies it once and allocates nothing, and lines that follow
//! each other are written with one copy. Names the proxy has to know are recognised when a
//! field is added, so that asking for one compares numbers. Look-ups are linear, which for the
//! dozen fields of a request beats hashing them.

/// A field name that means something to a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the field of that name")]
pub enum Known {
    /// Any other name.
    Other,
    Connection,
    ContentLength,
    ContentType,
    Cookie,
    Date,
    Expect,
    Forwarded,
    Host,
    Http2Settings,
    KeepAlive,
    ProxyAuthenticate,
    ProxyAuthorization,
    ProxyConnection,
    Te,
    Trailer,
    TransferEncoding,
    Upgrade,
    XForwardedFor,
    XForwardedHost,
    /// Any other name that begins with `X-Forwarded-`.
    XForwardedOther,
    XForwardedPort,
    XForwardedProto,
    XRealIp,
}

impl Known {
    /// Recognises a name, in any letter case.
    pub fn of(name: &[u8]) -> Self {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        match name.len() {
            2 if is("te") => Self::Te,
            4 if is("host") => Self::Host,
            4 if is("date") => Self::Date,
            6 if is("cookie") => Self::Cookie,
            6 if is("expect") => Self::Expect,
            7 if is("upgrade") => Self::Upgrade,
            7 if is("trailer") => Self::Trailer,
            9 if is("forwarded") => Self::Forwarded,
            9 if is("x-real-ip") => Self::XRealIp,
            10 if is("connection") => Self::Connection,
            10 if is("keep-alive") => Self::KeepAlive,
            12 if is("content-type") => Self::ContentType,
            14 if is("content-length") => Self::ContentLength,
            14 if is("http2-settings") => Self::Http2Settings,
            15 if is("x-forwarded-for") => Self::XForwardedFor,
            16 if is("x-forwarded-host") => Self::XForwardedHost,
            16 if is("x-forwarded-port") => Self::XForwardedPort,
            16 if is("proxy-connection") => Self::ProxyConnection,
            17 if is("transfer-encoding") => Self::TransferEncoding,
            17 if is("x-forwarded-proto") => Self::XForwardedProto,
            18 if is("proxy-authenticate") => Self::ProxyAuthenticate,
            19 if is("proxy-authorization") => Self::ProxyAuthorization,
            12.. if name[..12].eq_ignore_ascii_case(b"x-forwarded-") => Self::XForwardedOther,
            _ => Self::Other,
        }
    }

    /// Whether a field is meant for one connection only (RFC 9110, 7.6.1).
    pub const fn is_hop_by_hop(self) -> bool {
        matches!(
            self,
            Self::Connection
                | Self::KeepAlive
                | Self::ProxyConnection
                | Self::Te
                | Self::TransferEncoding
                | Self::Upgrade
        )
    }
}

/// One field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// What is known of the name.
    pub known: Known,
    /// The name as it was written.
    pub name: &'a [u8],
    /// The value, without white space around it.
    pub value: &'a [u8],
}

/// Where a field lies in the bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) known: Known,
    /// The line begins with the name.
    pub(crate) name: (u32, u32),
    pub(crate) value: (u32, u32),
    /// Where the line ends, its CRLF included.
    pub(crate) end: u32,
}

/// The fields of one message.
#[derive(Debug, Clone, Default)]
pub struct Fields {
    bytes: Vec<u8>,
    places: Vec<Place>,
}

impl Fields {
    /// No fields.
    pub const fn new() -> Self {
        Self { bytes: Vec::new(), places: Vec::new() }
    }

    /// Forgets all fields and keeps the room they took.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.places.clear();
    }

    /// Bytes of memory held for the text.
    pub const fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// How many fields there are.
    pub const fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Adds a field at the end. Name and value must be valid; they are not looked at here.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        let start = self.bytes.len() as u32;
        let colon = start + name.len() as u32;
        let end = colon + 2 + value.len() as u32;
        for part in [name, b": ", value, b"\r\n"] {
            self.bytes.extend_from_slice(part);
        }
        let known = Known::of(name);
        let place = Place { known, name: (start, colon), value: (colon + 2, end), end: end + 2 };
        self.places.push(place);
    }

    /// Adds a field at the end by its whole line, whose name is as long as `name`.
    pub(crate) fn push_line(&mut self, known: Known, line: &[u8], name: usize) {
        let start = self.bytes.len() as u32;
        let (colon, end) = (start + name as u32, start + line.len() as u32);
        self.bytes.extend_from_slice(line);
        let place = Place { known, name: (start, colon), value: (colon + 2, end - 2), end };
        self.places.push(place);
    }

    /// Writes the lines for which `passes` holds, as they were written before.
    #[inline]
    pub fn write(&self, out: &mut Vec<u8>, mut passes: impl FnMut(&Field<'_>) -> bool) {
        let mut run = (0, 0);
        for place in &self.places {
            if !passes(&self.field(place)) {
                continue;
            }
            if place.name.0 != run.1 {
                out.extend_from_slice(self.slice(run));
                run.0 = place.name.0;
            }
            run.1 = place.end;
        }
        out.extend_from_slice(self.slice(run));
    }

    /// Notes where a field lies in bytes that [`Fields::adopt`] will bring.
    pub(crate) fn note(&mut self, place: Place) {
        self.places.push(place);
    }

    /// Takes a copy of the bytes that the places were noted for.
    pub(crate) fn adopt(&mut self, bytes: &[u8]) {
        self.bytes.clear();
        self.bytes.extend_from_slice(bytes);
    }

    /// The bytes of a place.
    pub(crate) fn slice(&self, (start, end): (u32, u32)) -> &[u8] {
        self.bytes.get(start as usize..end as usize).unwrap_or_default()
    }

    fn field(&self, place: &Place) -> Field<'_> {
        Field { known: place.known, name: self.slice(place.name), value: self.slice(place.value) }
    }

    /// All fields, in order.
    pub fn iter(&self) -> impl Iterator<Item = Field<'_>> {
        self.places.iter().map(|place| self.field(place))
    }

    /// All fields, in order, each with its line as it was written.
    pub fn lines(&self) -> impl Iterator<Item = (Field<'_>, &[u8])> {
        self.places.iter().map(|place| (self.field(place), self.slice((place.name.0, place.end))))
    }

    /// The value of the first field with this name.
    pub fn value(&self, known: Known) -> Option<&[u8]> {
        self.values(known).next()
    }

    /// The values of all fields with this name, in order.
    pub fn values(&self, known: Known) -> impl Iterator<Item = &[u8]> {
        let places = self.places.iter().filter(move |place| place.known == known);
        places.map(|place| self.slice(place.value))
    }

    /// The values of all fields called `name`, in any letter case.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let places = self.places.iter().filter(|place| self.is_called(place, name));
        places.map(|place| self.slice(place.value))
    }

    /// The value of the first field called `name`, in any letter case.
    pub fn first(&self, name: &str) -> Option<&[u8]> {
        let place = self.places.iter().find(|place| self.is_called(place, name))?;
        Some(self.slice(place.value))
    }

    /// Whether a field has this name, in any letter case; most differ in length already.
    fn is_called(&self, place: &Place, name: &str) -> bool {
        (place.name.1 - place.name.0) as usize == name.len()
            && self.slice(place.name).eq_ignore_ascii_case(name.as_bytes())
    }

    /// Whether there is a field with this name.
    pub fn has(&self, known: Known) -> bool {
        self.places.iter().any(|place| place.known == known)
    }

    /// Removes the fields for which `stays` is false.
    pub fn retain(&mut self, mut stays: impl FnMut(Field<'_>) -> bool) {
        let bytes = &self.bytes;
        let slice =
            |(start, end): (u32, u32)| bytes.get(start as usize..end as usize).unwrap_or_default();
        self.places.retain(|place| {
            stays(Field { known: place.known, name: slice(place.name), value: slice(place.value) })
        });
    }

    /// Removes all fields with this name.
    pub fn remove(&mut self, known: Known) {
        self.places.retain(|place| place.known != known);
    }

    /// Puts one field in the place of all that have its name.
    pub fn set(&mut self, name: &[u8], value: &[u8]) {
        self.retain(|field| !field.name.eq_ignore_ascii_case(name));
        self.push(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_in_any_letter_case() {
        for (name, known) in [
            ("HOST", Known::Host),
            ("host", Known::Host),
            ("Transfer-Encoding", Known::TransferEncoding),
            ("X-Forwarded-For", Known::XForwardedFor),
            ("X-Forwarded-Prefix", Known::XForwardedOther),
            ("X-Forwarded-", Known::XForwardedOther),
            ("Content-Type", Known::ContentType),
            ("x-forwarded", Known::Other),
            ("hosts", Known::Other),
            ("", Known::Other),
        ] {
            assert_eq!(Known::of(name.as_bytes()), known, "{name}");
        }
    }

    #[test]
    fn fields_keep_order_and_spelling() {
        let mut fields = Fields::new();
        fields.push(b"Host", b"a");
        fields.push(b"X-One", b"1");
        fields.push(b"x-one", b"2");
        assert_eq!(fields.named("X-ONE").collect::<Vec<_>>(), [b"1", b"2"]);
        assert_eq!(fields.value(Known::Host), Some(&b"a"[..]));
        fields.set(b"Host", b"b");
        fields.retain(|field| field.value != b"1");
        let all: Vec<_> = fields.iter().map(|field| (field.name, field.value)).collect();
        assert_eq!(all, [(&b"x-one"[..], &b"2"[..]), (b"Host", b"b")]);
        fields.push(b"Last", b"");
        let mut out = Vec::new();
        fields.write(&mut out, |field| field.known != Known::Host);
        assert_eq!(out, b"x-one: 2\r\nLast: \r\n");
        fields.clear();
        assert!(fields.is_empty() && !fields.has(Known::Host));
    }
}
