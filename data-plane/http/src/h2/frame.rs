//! Frames: what stands before each, and those of a few bytes (RFC 9113, 4 and 6).

/// Bytes before the payload.
pub const HEAD: usize = 9;

/// The largest payload that is taken and, unless the peer takes more, sent.
pub const LARGEST: usize = 16 << 10;

/// `END_STREAM`; of SETTINGS and PING the same bit is `ACK`.
pub(super) const END_STREAM: u8 = 0x1;
pub(super) const ACK: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;
pub(super) const PADDED: u8 = 0x8;
pub(super) const PRIORITY: u8 = 0x20;

/// Why a stream or a connection ends (RFC 9113, 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each is the code of that name")]
pub enum ErrorCode {
    #[error("NO_ERROR")]
    NoError = 0x0,
    #[error("PROTOCOL_ERROR")]
    Protocol = 0x1,
    #[error("INTERNAL_ERROR")]
    Internal = 0x2,
    #[error("FLOW_CONTROL_ERROR")]
    FlowControl = 0x3,
    #[error("STREAM_CLOSED")]
    StreamClosed = 0x5,
    #[error("FRAME_SIZE_ERROR")]
    FrameSize = 0x6,
    #[error("REFUSED_STREAM")]
    RefusedStream = 0x7,
    #[error("CANCEL")]
    Cancel = 0x8,
    #[error("COMPRESSION_ERROR")]
    Compression = 0x9,
    #[error("ENHANCE_YOUR_CALM")]
    EnhanceYourCalm = 0xb,
}

/// The type of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    Headers,
    Priority,
    Reset,
    Settings,
    PushPromise,
    Ping,
    GoAway,
    WindowUpdate,
    Continuation,
    /// To be passed over (RFC 9113, 4.1).
    Unknown,
}

/// What stands before a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) length: usize,
    pub(super) kind: Kind,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl Kind {
    const fn of(byte: u8) -> Self {
        match byte {
            0x0 => Self::Data,
            0x1 => Self::Headers,
            0x2 => Self::Priority,
            0x3 => Self::Reset,
            0x4 => Self::Settings,
            0x5 => Self::PushPromise,
            0x6 => Self::Ping,
            0x7 => Self::GoAway,
            0x8 => Self::WindowUpdate,
            0x9 => Self::Continuation,
            _ => Self::Unknown,
        }
    }
}

impl Head {
    /// Reads what stands before a payload, if all of it is there.
    pub(super) fn read(input: &[u8]) -> Option<Self> {
        let [l2, l1, l0, kind, flags, s3, s2, s1, s0] = *input.first_chunk::<HEAD>()?;
        Some(Self {
            length: u32::from_be_bytes([0, l2, l1, l0]) as usize,
            kind: Kind::of(kind),
            flags,
            // One bit is reserved.
            stream: u32::from_be_bytes([s3 & 0x7f, s2, s1, s0]),
        })
    }

    /// Whether it has a flag.
    pub(super) const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Takes the padding away from a payload (RFC 9113, 6.1); there is nothing left of one that is
/// all padding and more.
pub(super) fn unpad(flags: u8, payload: &[u8]) -> Option<&[u8]> {
    if flags & PADDED == 0 {
        return Some(payload);
    }
    let (padding, rest) = payload.split_first()?;
    rest.get(..rest.len().checked_sub(usize::from(*padding))?)
}

/// The number in the first four bytes, without its reserved bit.
pub(super) fn number(payload: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(*payload.first_chunk()?) & 0x7fff_ffff)
}

/// Writes what stands before a payload.
pub(super) fn write_head(out: &mut Vec<u8>, length: usize, kind: Kind, flags: u8, stream: u32) {
    let [_, l2, l1, l0] = (length as u32).to_be_bytes();
    let [s3, s2, s1, s0] = stream.to_be_bytes();
    out.extend_from_slice(&[l2, l1, l0, kind.number(), flags, s3, s2, s1, s0]);
}

/// Writes the length of a frame that begins at `at` and ends with `out`.
pub(super) fn set_length(out: &mut [u8], at: usize, length: usize) {
    let [_, length @ ..] = (length as u32).to_be_bytes();
    if let Some(place) = out.get_mut(at..at + 3) {
        place.copy_from_slice(&length);
    }
}

impl Kind {
    const fn number(self) -> u8 {
        match self {
            Self::Data => 0x0,
            Self::Headers => 0x1,
            Self::Priority => 0x2,
            Self::Reset => 0x3,
            Self::Settings => 0x4,
            Self::PushPromise => 0x5,
            Self::Ping => 0x6,
            Self::GoAway => 0x7,
            Self::WindowUpdate => 0x8,
            Self::Continuation => 0x9,
            Self::Unknown => 0xff,
        }
    }
}

/// Writes a `WINDOW_UPDATE`.
pub(super) fn window_update(out: &mut Vec<u8>, stream: u32, by: u32) {
    write_head(out, 4, Kind::WindowUpdate, 0, stream);
    out.extend_from_slice(&by.to_be_bytes());
}

/// Writes a `RST_STREAM`.
pub(super) fn reset(out: &mut Vec<u8>, stream: u32, code: ErrorCode) {
    write_head(out, 4, Kind::Reset, 0, stream);
    out.extend_from_slice(&(code as u32).to_be_bytes());
}

/// Writes a `GOAWAY`.
pub(super) fn go_away(out: &mut Vec<u8>, last: u32, code: ErrorCode) {
    write_head(out, 8, Kind::GoAway, 0, 0);
    out.extend_from_slice(&last.to_be_bytes());
    out.extend_from_slice(&(code as u32).to_be_bytes());
}

/// Writes a `PING`, or the answer to one.
pub(super) fn ping(out: &mut Vec<u8>, flags: u8, payload: &[u8]) {
    write_head(out, payload.len(), Kind::Ping, flags, 0);
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_is_written() {
        for byte in 0..=10 {
            let kind = Kind::of(byte);
            let mut out = Vec::new();
            write_head(&mut out, 0x01_02_03, kind, 0x25, 0x7fff_fffe);
            let head = Head { length: 0x01_02_03, kind, flags: 0x25, stream: 0x7fff_fffe };
            assert_eq!(Head::read(&out), Some(head));
            assert_eq!(Head::read(&out[..8]), None);
            set_length(&mut out, 0, 7);
            assert_eq!(Head::read(&out).map(|head| head.length), Some(7));
        }
        let reserved = [0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(Head::read(&reserved).map(|head| head.stream), Some(0x7fff_ffff));
    }

    #[test]
    fn padding_is_taken_away_and_never_more_than_there_is() {
        assert_eq!(unpad(0, b"\x01ab"), Some(&b"\x01ab"[..]));
        assert_eq!(unpad(PADDED, b"\x01ab"), Some(&b"a"[..]));
        assert_eq!(unpad(PADDED, b"\x02ab"), Some(&b""[..]));
        assert_eq!(unpad(PADDED, b"\x03ab"), None);
        assert_eq!(unpad(PADDED, b""), None);
    }
}
