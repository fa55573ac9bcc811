//! HTTP/2 by hand, frame by frame, for what no client would send.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What is not written or read by then: a peer that reads no more, or has nothing to say.
const PATIENCE: Duration = Duration::from_secs(20);

/// A frame as it was received.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// A connection that says what it is told to.
pub struct Wire(TcpStream);

impl Wire {
    /// Connects and says nothing. `address` is as a client takes it.
    pub fn silent(address: &str) -> Wire {
        let stream = TcpStream::connect(address.trim_start_matches("http://")).expect("up");
        stream.set_nodelay(true).expect("set");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        stream.set_write_timeout(Some(PATIENCE)).expect("set");
        Wire(stream)
    }

    /// Connects as a client does, with these settings.
    pub fn connect(address: &str, settings: &[(u16, u32)]) -> Wire {
        let mut wire = Wire::silent(address);
        wire.raw(PREFACE).expect("sent");
        let settings: Vec<u8> = settings
            .iter()
            .flat_map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        wire.frame(SETTINGS, 0, 0, &settings).expect("sent");
        wire
    }

    /// Gives up writing after so long: for floods, which end where the server reads no more.
    pub fn impatient(self) -> Wire {
        self.0.set_write_timeout(Some(Duration::from_secs(1))).expect("set");
        self
    }

    pub fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    pub fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        self.raw(&frame(kind, flags, stream, payload))
    }

    /// A whole call with one message.
    pub fn call(&mut self, stream: u32, block: &[u8], message: &[u8]) -> io::Result<()> {
        self.raw(&call(stream, block, message))
    }

    /// The next frame; none at the end of the connection.
    pub fn read(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.read_exact(&mut head)?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.read_exact(&mut payload)?;
        let stream = u32::from_be_bytes([stream[0], stream[1], stream[2], stream[3]]);
        Some(Frame { kind, flags, stream, payload })
    }

    /// A peer that neither ends the connection nor says anything hangs.
    fn read_exact(&mut self, bytes: &mut [u8]) -> Option<()> {
        match self.0.read_exact(bytes) {
            Ok(()) => Some(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => panic!("it hangs: {error}"),
            Err(_) => None,
        }
    }

    /// The first frame of which this is true; none if the connection ends before.
    pub fn wait_for(&mut self, mut wanted: impl FnMut(&Frame) -> bool) -> Option<Frame> {
        std::iter::from_fn(|| self.read()).find(|frame| wanted(frame))
    }

    /// Waits until the server has ended the connection. Answers the code of its last GOAWAY, if it said one.
    pub fn wait_for_end(&mut self) -> Option<u32> {
        let mut code = None;
        while let Some(frame) = self.read() {
            if let (GOAWAY, Some(bytes)) = (frame.kind, frame.payload.get(4..8)) {
                code = Some(u32::from_be_bytes(bytes.try_into().expect("four")));
            }
        }
        code
    }
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("small").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

pub fn call(stream: u32, block: &[u8], message: &[u8]) -> Vec<u8> {
    let headers = frame(HEADERS, END_HEADERS, stream, block);
    [headers, frame(DATA, END_STREAM, stream, &framed(message))].concat()
}

/// A message as gRPC frames it.
pub fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("small").to_be_bytes();
    [&[0][..], &length, message].concat()
}

/// The headers of a call.
pub fn fields<'a>(path: &'a str, authorization: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("authorization", authorization),
    ]
}

/// Headers in the form of HPACK, none of them indexed or shortened.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|field| literal(0x00, field)).collect()
}

/// Headers in the form of HPACK, each put into the dynamic table; and what stands for all of them from then on.
pub fn indexed(fields: &[(&str, &str)]) -> (Vec<u8>, Vec<u8>) {
    const FIRST_DYNAMIC: usize = 62;
    let first = fields.iter().flat_map(|field| literal(0x40, field)).collect();
    let entry = |n| 0x80 | u8::try_from(FIRST_DYNAMIC + n).expect("few");
    (first, (0..fields.len()).rev().map(entry).collect())
}

fn literal(kind: u8, (name, value): &(&str, &str)) -> Vec<u8> {
    [&[kind][..], &text(name), &text(value)].concat()
}

/// A string of HPACK: its length in 7 bits and continuations, then itself.
fn text(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let length = text.len();
    if length < 127 {
        bytes.push(u8::try_from(length).expect("small"));
    } else {
        bytes.push(127);
        let mut rest = length - 127;
        while rest >= 128 {
            bytes.push(u8::try_from(rest % 128 + 128).expect("a byte"));
            rest /= 128;
        }
        bytes.push(u8::try_from(rest).expect("a byte"));
    }
    bytes.extend(text.as_bytes());
    bytes
}
