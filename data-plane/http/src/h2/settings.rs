//! What each side says of itself at the beginning, and may say anew (RFC 9113, 6.5).

use super::{
    frame::{ErrorCode, Kind, LARGEST, write_head},
    hpack::TABLE,
};

/// The largest window (RFC 9113, 6.9.1).
pub(super) const MOST: u32 = 0x7fff_ffff;

/// The size of a window that nobody has spoken of (RFC 9113, 6.9.2).
pub(super) const WINDOW: u32 = 65_535;

const HEADER_TABLE_SIZE: u16 = 0x1;
const ENABLE_PUSH: u16 = 0x2;
const MAX_CONCURRENT_STREAMS: u16 = 0x3;
const INITIAL_WINDOW_SIZE: u16 = 0x4;
const MAX_FRAME_SIZE: u16 = 0x5;
const MAX_HEADER_LIST_SIZE: u16 = 0x6;
const NO_RFC7540_PRIORITIES: u16 = 0x9;

/// What a client says of itself, as far as it matters to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Settings {
    /// The size of its table for our header blocks.
    pub(super) table: u32,
    /// The window of a new stream.
    pub(super) window: u32,
    /// The largest frame that it takes.
    pub(super) frame: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { table: TABLE as u32, window: WINDOW, frame: LARGEST as u32 }
    }
}

impl Settings {
    /// Takes what a frame says, in its order; what is unknown is passed over.
    pub(super) fn update(&mut self, payload: &[u8]) -> Result<(), ErrorCode> {
        let (settings, rest) = payload.as_chunks::<6>();
        if !rest.is_empty() {
            return Err(ErrorCode::FrameSize);
        }
        for [name1, name0, v3, v2, v1, v0] in settings {
            let value = u32::from_be_bytes([*v3, *v2, *v1, *v0]);
            match u16::from_be_bytes([*name1, *name0]) {
                HEADER_TABLE_SIZE => self.table = value,
                ENABLE_PUSH | NO_RFC7540_PRIORITIES if value > 1 => {
                    return Err(ErrorCode::Protocol);
                }
                INITIAL_WINDOW_SIZE if value > MOST => return Err(ErrorCode::FlowControl),
                INITIAL_WINDOW_SIZE => self.window = value,
                MAX_FRAME_SIZE if !(16_384..=16_777_215).contains(&value) => {
                    return Err(ErrorCode::Protocol);
                }
                MAX_FRAME_SIZE => self.frame = value,
                _ => {}
            }
        }
        Ok(())
    }
}

/// Writes our settings.
pub(super) fn write(out: &mut Vec<u8>, streams: u32, window: u32, list: u32) {
    let settings = [
        (MAX_CONCURRENT_STREAMS, streams),
        (INITIAL_WINDOW_SIZE, window),
        (MAX_HEADER_LIST_SIZE, list),
        // The order of answers follows from who is ready.
        (NO_RFC7540_PRIORITIES, 1),
    ];
    write_head(out, settings.len() * 6, Kind::Settings, 0, 0);
    for (name, value) in settings {
        out.extend_from_slice(&name.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn updated(payload: &[u8]) -> Result<Settings, ErrorCode> {
        let mut settings = Settings::default();
        settings.update(payload).map(|()| settings)
    }

    #[test]
    fn the_last_value_counts_and_unknown_settings_do_not() {
        let settings = updated(&[0, 4, 0, 0, 0, 1, 0xff, 0xff, 1, 2, 3, 4, 0, 4, 0, 0, 0, 2]);
        assert_eq!(settings, Ok(Settings { window: 2, ..Settings::default() }));
    }

    #[test]
    fn values_that_cannot_be_are_refused() {
        for (payload, code) in [
            (&[0, 4, 0][..], ErrorCode::FrameSize),
            (&[0, 2, 0, 0, 0, 2], ErrorCode::Protocol),
            (&[0, 4, 0x80, 0, 0, 0], ErrorCode::FlowControl),
            (&[0, 5, 0, 0, 0x3f, 0xff], ErrorCode::Protocol),
            (&[0, 5, 1, 0, 0, 0], ErrorCode::Protocol),
            (&[0, 9, 0, 0, 0, 2], ErrorCode::Protocol),
        ] {
            assert_eq!(updated(payload), Err(code), "{payload:?}");
        }
    }
}
