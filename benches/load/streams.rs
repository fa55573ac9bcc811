//! Load on streams: questions are sent together as there is room for them, and answers must come in their order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio::task::JoinSet;

use crate::asks::{Asks, FRAME};
use crate::calls::{Failure, Got, Line, Measuring, first_of, headed, next, outcome, succeeded};
use crate::now;

/// Of how many answers the latency of one is noted.
const SAMPLE: u64 = 16;

/// Opens so many streams, with so many questions under way in each.
pub(crate) fn open(
    lines: &[Line],
    asks: &Arc<Asks>,
    (streams, window): (usize, usize),
    measuring: Measuring,
) -> JoinSet<Got> {
    let mut running = JoinSet::new();
    for task in 0..streams {
        let (line, asks) = (lines[task % lines.len()].clone(), Arc::clone(asks));
        running.spawn(async move {
            let mut stream = Conversation::new(asks, first_of(task), window, measuring);
            if let Err(failure) = stream.hold(&line).await {
                stream.got.failed += 1;
                stream.got.failure = Some(failure.to_string());
            }
            stream.got
        });
    }
    running
}

/// One stream. Questions carry numbers from 1 as their tags, and answers must come in their order.
struct Conversation {
    asks: Arc<Asks>,
    first: usize,
    window: usize,
    measuring: Measuring,
    /// How many have been asked, and answered.
    asked: u64,
    answered: u64,
    /// When questions were sent, and up to which.
    sent: VecDeque<(u64, Instant)>,
    got: Got,
}

impl Conversation {
    fn new(asks: Arc<Asks>, first: usize, window: usize, measuring: Measuring) -> Self {
        let (sent, got) = (VecDeque::new(), Got::default());
        Conversation { asks, first, window, measuring, asked: 0, answered: 0, sent, got }
    }

    async fn hold(&mut self, line: &Line) -> Result<(), Failure> {
        let (answer, mut sending) = line.begin().await?;
        sending.send_data(self.questions(), false)?;
        let mut body = headed(answer).await?;
        let mut read = BytesMut::new();
        while let Some(chunk) = next(&mut body).await? {
            read.extend_from_slice(&chunk);
            let time = now();
            while let Some(message) = frame(&mut read) {
                self.take(&message, time)?;
            }
            if time >= self.measuring.to {
                break;
            }
            // Together, as a caller's own calls come together.
            if self.under_way() <= self.window / 2 {
                sending.send_data(self.questions(), false)?;
            }
        }
        if now() < self.measuring.to {
            let trailers = body.trailers().await?.unwrap_or_default();
            succeeded(&trailers)?;
            return Err("the stream ended".into());
        }
        Ok(())
    }

    fn under_way(&self) -> usize {
        usize::try_from(self.asked - self.answered).expect("at most the window")
    }

    fn number(&self, tag: u64) -> usize {
        self.first.wrapping_add(usize::try_from(tag).expect("64 bits"))
    }

    /// As many as there is room for.
    fn questions(&mut self) -> Bytes {
        let mut bytes = BytesMut::new();
        for _ in self.under_way()..self.window {
            self.asked += 1;
            let ask = self.asks.at(self.number(self.asked));
            let (tag, length) = (varint(self.asked), varint(ask.message().len() as u64));
            let whole = 2 + tag.len() + length.len() + ask.message().len();
            bytes.put_u8(0);
            bytes.put_u32(u32::try_from(whole).expect("short"));
            bytes.put_u8(0x08);
            bytes.put_slice(&tag);
            bytes.put_u8(0x12);
            bytes.put_slice(&length);
            bytes.put_slice(ask.message());
        }
        self.sent.push_back((self.asked, now()));
        bytes.freeze()
    }

    fn take(&mut self, message: &[u8], time: Instant) -> Result<(), Failure> {
        self.answered += 1;
        while self.sent.front().is_some_and(|(last, _)| *last < self.answered) {
            self.sent.pop_front();
        }
        let sent = self.sent.front().ok_or("an answer to no question")?.1;
        let (tag, rest) = field(message, 0x08)?;
        if tag != self.answered {
            return Err(format!("answer {tag} came for {}", self.answered).into());
        }
        let (_, response) = field(rest, 0x12)?;
        if self.measuring.takes(sent, time) {
            let ask = self.asks.at(self.number(tag));
            self.got.calls += 1;
            self.got.wrong += u64::from(outcome(response)? != ask.outcome);
            if tag.is_multiple_of(SAMPLE) {
                let took = u32::try_from((time - sent).as_nanos()).unwrap_or(u32::MAX);
                self.got.latencies.push(took);
            }
        }
        Ok(())
    }
}

/// The next whole message of what has been read.
fn frame(read: &mut BytesMut) -> Option<BytesMut> {
    let length = read.get(1..FRAME)?.try_into().ok()?;
    let length = usize::try_from(u32::from_be_bytes(length)).ok()?;
    if read.len() < FRAME + length {
        return None;
    }
    read.advance(FRAME);
    Some(read.split_to(length))
}

/// The number that begins a field, and what is behind it.
fn field(message: &[u8], key: u8) -> Result<(u64, &[u8]), Failure> {
    let (first, mut rest) = message.split_first().ok_or("an answer ends early")?;
    if *first != key {
        return Err(format!("field {key:#x} is not where it should be").into());
    }
    let number = prost::encoding::decode_varint(&mut rest)?;
    Ok((number, rest))
}

fn varint(number: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(10);
    prost::encoding::encode_varint(number, &mut bytes);
    bytes
}
