//! Inputs made of others: seeded, so that a run can be repeated.

use super::targets::wire::{Field, Value, encode, fields};
use super::targets::{Shape, Target};

#[path = "../crash/dice.rs"]
mod dice;

pub use dice::Dice;

/// Numbers at the edges of what lengths and counts are.
const EDGES: [u64; 16] = [
    0,
    1,
    2,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    i64::MAX.cast_unsigned(),
    i64::MIN.cast_unsigned(),
    u64::MAX - 1,
    u64::MAX,
];

/// Texts that mean something somewhere.
const WORDS: [&str; 24] = [
    "",
    " ",
    "\n",
    "\n\n",
    "\0",
    "*",
    ":",
    ":*",
    "/",
    "/128",
    "::ffff:",
    "0",
    "-1",
    "1e9",
    "key_",
    "kl_live_",
    "_",
    "\u{2014} ",
    "\u{7f}",
    "\u{85}",
    "\u{202e}",
    "Bearer ",
    "=\"",
    "[[",
];

/// Another input made of one, with parts of others.
pub fn mutated(target: &Target, input: &[u8], others: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let mut made = input.to_vec();
    for _ in 0..=dice.below(4) {
        made = match target.shape {
            Shape::Message if dice.below(4) > 0 => message(&made, dice, 0),
            Shape::Call if dice.below(8) > 0 => call(&made, dice),
            Shape::Text if dice.below(3) > 0 => text(made, dice),
            _ => bytes(made, others, dice),
        };
    }
    made.truncate(target.most);
    made
}

fn call(input: &[u8], dice: &mut Dice) -> Vec<u8> {
    let line = input.iter().position(|byte| *byte == b'\n').map_or(input.len(), |end| end + 1);
    let (path, rest) = input.split_at(line);
    let Some((how, sent)) = rest.split_first() else { return input.to_vec() };
    let how = if dice.below(6) == 0 { dice.any().to_le_bytes()[0] } else { *how };
    [path, &[how], &message(sent, dice, 0)].concat()
}

/// A message of which one field is another, is there twice, or is not there.
fn message(input: &[u8], dice: &mut Dice, depth: usize) -> Vec<u8> {
    let Some(mut all) = fields(input) else { return bytes(input.to_vec(), &[], dice) };
    if all.is_empty() || dice.below(8) == 0 {
        let value = if dice.toss() { number(dice) } else { Value::Bytes(word(dice).into()) };
        all.insert(dice.below(all.len() + 1), Field { number: 1 + dice.any() % 40, value });
        return encode(&all);
    }
    let at = dice.below(all.len());
    match dice.below(8) {
        0 => drop(all.remove(at)),
        1 => {
            let copies = if dice.below(8) == 0 { 200 } else { 1 };
            let one = all[at].clone();
            all.splice(at..at, std::iter::repeat_n(one, copies));
        }
        2 => all[at].number = 1 + dice.any() % 40,
        _ => all[at].value = value(&all[at].value, dice, depth),
    }
    encode(&all)
}

fn value(held: &Value, dice: &mut Dice, depth: usize) -> Value {
    match held {
        Value::Number(_) | Value::Fixed(_) => number(dice),
        Value::Bytes(held) => {
            let inside = fields(held).is_some_and(|inside| !inside.is_empty());
            Value::Bytes(match dice.below(8) {
                0 => word(dice).into(),
                1 => held.repeat(dice.one_of(&[0, 2, 17, 300])),
                _ if inside && depth < 4 => message(held, dice, depth + 1),
                _ if std::str::from_utf8(held).is_ok() && dice.below(4) > 0 => {
                    text(held.clone(), dice)
                }
                _ => bytes(held.clone(), &[], dice),
            })
        }
    }
}

fn number(dice: &mut Dice) -> Value {
    Value::Number(edge(dice))
}

fn edge(dice: &mut Dice) -> u64 {
    match dice.below(3) {
        0 => dice.any() >> dice.below(64),
        _ => dice.one_of(&EDGES),
    }
}

fn word(dice: &mut Dice) -> &'static str {
    dice.one_of(&WORDS)
}

/// A text with a word put in, a character changed, a number made another, or a part left out or repeated.
fn text(input: Vec<u8>, dice: &mut Dice) -> Vec<u8> {
    let Ok(held) = String::from_utf8(input) else { return Vec::new() };
    let mut all: Vec<char> = held.chars().collect();
    let at = dice.below(all.len() + 1);
    let end = at + dice.below(all.len() - at + 1).min(40);
    match dice.below(6) {
        0 => drop(all.splice(at..at, word(dice).chars())),
        1 => drop(all.drain(at..end)),
        2 => {
            let part = all[at..end].to_vec();
            all.splice(at..at, part.repeat(1 + dice.below(3)));
        }
        3 => {
            let digits = all[at..].iter().take_while(|c| c.is_ascii_digit()).count();
            all.splice(at..at + digits, edge(dice).to_string().chars());
        }
        _ => {
            let other = char::from(b' ' + u8::try_from(dice.below(95)).expect("a character"));
            let end = (at + 1).min(all.len());
            all.splice(at..end, [other]);
        }
    }
    all.into_iter().collect::<String>().into()
}

/// Bytes of which some are others, are cut out, are there twice, or come from another input.
fn bytes(mut input: Vec<u8>, others: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let at = dice.below(input.len() + 1);
    let end = at + dice.below(input.len() - at + 1).min(64);
    match dice.below(8) {
        0 if at < input.len() => input[at] ^= 1 << dice.below(8),
        1 if at < input.len() => input[at] = dice.any().to_le_bytes()[0],
        2 => drop(input.drain(at..end)),
        3 => {
            let part = input[at..end].to_vec();
            input.splice(at..at, part);
        }
        4 => input.truncate(at),
        5 if !others.is_empty() => {
            let other = &others[dice.below(others.len())];
            let from = dice.below(other.len() + 1);
            input.splice(at..end, other[from..].iter().copied().take(1 + dice.below(200)));
        }
        _ => {
            let all = edge(dice).to_be_bytes();
            let width = dice.one_of(&[1, 2, 4, 8]);
            let end = (at + width).min(input.len());
            input.splice(at..end, all[8 - width..].iter().copied());
        }
    }
    input
}
