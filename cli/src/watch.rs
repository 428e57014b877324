//! Shows the same again and again.
//!
//! On a terminal each frame replaces the one before; elsewhere frames follow each other, in JSON
//! one a line. A control plane that goes away is waited for, once it has answered.

use std::{io, time::Duration};

use jiff::Timestamp;
use tokio::time::Instant;

use crate::{
    args::Watch,
    exit::{Exit, Failure},
    output::{Output, time},
};

/// What is shown at one time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Frame {
    /// Data.
    pub(crate) text: String,
    /// What to tell a person besides.
    pub(crate) note: Option<String>,
}

impl Frame {
    /// A frame with a note if there is reason for it.
    pub(crate) fn new(text: String, is_odd: bool, note: &str) -> Self {
        Self { text, note: is_odd.then(|| note.to_owned()) }
    }
}

/// Shows what `fetch` makes, once or again and again.
pub(crate) async fn show(
    output: &Output,
    watch: &Watch,
    fetch: impl AsyncFn(&Output) -> Result<Frame, Failure>,
) -> Result<Exit, Failure> {
    if watch.watch {
        let output = output.streaming();
        return tokio::select! {
            ended = follow(&output, watch.interval, fetch) => ended,
            _ = tokio::signal::ctrl_c() => Ok(Exit::Interrupted),
        };
    }
    let frame = fetch(output).await?;
    output.data(&frame.text)?;
    if let Some(note) = frame.note {
        output.note(note);
    }
    Ok(Exit::Ok)
}

async fn follow(
    output: &Output,
    interval: Duration,
    fetch: impl AsyncFn(&Output) -> Result<Frame, Failure>,
) -> Result<Exit, Failure> {
    let in_place = output.on_terminal && !output.is_structured();
    let mut last: Option<Frame> = None;
    let mut away: Option<Instant> = None;
    loop {
        let text = match (fetch(output).await, &last) {
            (Ok(frame), before) => {
                if away.take().is_some() && !in_place {
                    output.important("the control plane is back");
                }
                let text = if in_place {
                    in_place_of(before.is_none(), &whole(&frame, interval, None, output))
                } else {
                    streamed(&frame, before.is_none(), output)
                };
                last = Some(frame);
                text
            }
            (Err(failure), Some(frame)) if failure.exit == Exit::Unreachable => {
                let is_news = away.is_none();
                let since = away.get_or_insert_with(Instant::now).elapsed();
                if in_place {
                    let gone = Gone { failure: &failure.what, since };
                    in_place_of(false, &whole(frame, interval, Some(gone), output))
                } else {
                    if is_news {
                        output.important(format_args!("{}; waiting for it", failure.what));
                    }
                    String::new()
                }
            }
            (Err(failure), _) => return Err(failure),
        };
        if !output.flow(&text)? {
            return Ok(Exit::Ok);
        }
        tokio::time::sleep(interval).await;
    }
}

/// That nobody answers, and for how long.
struct Gone<'a> {
    failure: &'a str,
    since: Duration,
}

/// A frame for whoever reads it later: frames of people are told apart by an empty line.
fn streamed(frame: &Frame, is_first: bool, output: &Output) -> String {
    let gap = if is_first || output.is_structured() { "" } else { "\n" };
    match (&frame.note, output.is_structured()) {
        (Some(note), false) => format!("{gap}{}{note}\n", frame.text),
        _ => format!("{gap}{}", frame.text),
    }
}

/// A frame for the screen, with a line of its own that says how old it is.
fn whole(frame: &Frame, interval: Duration, gone: Option<Gone<'_>>, output: &Output) -> String {
    let mut text = String::new();
    if output.headers || gone.is_some() {
        text = match gone {
            None => {
                let now = Timestamp::now();
                format!("{now:.0}, again every {interval:?}; Ctrl-C ends\n\n")
            }
            Some(Gone { failure, since }) => {
                let since = time::span(since.as_secs());
                format!("{failure} (for {since}); what follows is older\n\n")
            }
        };
    }
    text += &frame.text;
    if let Some(note) = &frame.note {
        text += note;
        text.push('\n');
    }
    text
}

/// Draws over what was there. Lines are not wrapped meanwhile, so that a line stays a line.
fn in_place_of(is_first: bool, text: &str) -> String {
    let rows = rustix::termios::tcgetwinsize(io::stdout()).map_or(0, |size| size.ws_row);
    drawn(is_first, text, usize::from(rows))
}

fn drawn(is_first: bool, text: &str, rows: usize) -> String {
    let all = text.lines().count();
    // The last row stays free, for the cursor.
    let most = if rows > 2 && all >= rows { rows - 2 } else { all };
    let mut drawn = String::from(if is_first { "\x1b[2J\x1b[H\x1b[?7l" } else { "\x1b[H\x1b[?7l" });
    for line in text.lines().take(most) {
        drawn += line;
        drawn += "\x1b[K\n";
    }
    if most < all {
        drawn += &format!("{} more lines; make the window higher\x1b[K\n", all - most);
    }
    drawn + "\x1b[J\x1b[?7h"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_replaces_the_one_before_and_fits_the_window() {
        assert_eq!(drawn(false, "a\nb\n", 10), "\x1b[H\x1b[?7la\x1b[K\nb\x1b[K\n\x1b[J\x1b[?7h");
        assert!(drawn(true, "a\n", 10).starts_with("\x1b[2J"));
        let cut = drawn(false, "1\n2\n3\n4\n5\n", 4);
        assert!(cut.contains("3 more lines") && !cut.contains("3\x1b[K"), "{cut:?}");
        assert!(
            drawn(false, "1\n2\n3\n", 0).contains('3'),
            "a size that is not known cuts nothing"
        );
    }
}
