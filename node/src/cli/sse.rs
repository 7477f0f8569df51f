//! Server-sent events, taken apart as they come.

use std::collections::VecDeque;

/// Longest event that is taken, in bytes: a record and its JSON fit many times over.
const EVENT_LEN_MAX: usize = 8 << 20;

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Message {
    /// Its name.
    pub(super) event: String,
    /// Its text.
    pub(super) data: String,
}

/// Bytes in, events out.
#[derive(Debug, Default)]
pub(super) struct Parser {
    rest: Vec<u8>,
    current: Message,
    ready: VecDeque<Message>,
}

impl Parser {
    /// Takes bytes as they came; false if an event is longer than any can be.
    pub(super) fn push(&mut self, bytes: &[u8]) -> bool {
        self.rest.extend_from_slice(bytes);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line[..end]).trim_end_matches('\r').to_owned();
            self.take(&line);
        }
        self.rest.len() + self.current.data.len() <= EVENT_LEN_MAX
    }

    /// The next whole event.
    pub(super) fn pop(&mut self) -> Option<Message> {
        self.ready.pop_front()
    }

    fn take(&mut self, line: &str) {
        if line.is_empty() {
            let message = std::mem::take(&mut self.current);
            if !message.data.is_empty() {
                self.ready.push_back(message);
            }
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.current.event),
            "data" => {
                if !self.current.data.is_empty() {
                    self.current.data.push('\n');
                }
                self.current.data.push_str(value);
            }
            // Comments, and the id, which stands in the data too.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_out_whole_however_they_came_in() {
        let text = b": hello\n\nid: 7\nevent: pod.started\ndata: {\"a\":1}\n\ndata: x\r\ndata: y\r\n\r\n";
        let mut parser = Parser::default();
        let mut events = Vec::new();
        for byte in text {
            assert!(parser.push(&[*byte]));
            events.extend(parser.pop());
        }
        let event = |event: &str, data: &str| Message { event: event.into(), data: data.into() };
        assert_eq!(events, [event("pod.started", "{\"a\":1}"), event("", "x\ny")]);
    }
}
