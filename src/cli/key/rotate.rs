//! `keyledger key rotate`.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::change::which;
use crate::cli::confirm::{Consent, ask};
use crate::cli::failure::{Exit, Failure};
use crate::cli::issued::{Issued, SecretOutput};
use crate::cli::options::ChangeArgs;
use crate::cli::output::Resource as _;
use crate::cli::resources::enum_or_dash;
use crate::cli::secret::SecretText;
use crate::cli::session::Session;
use crate::cli::text::plain;
use crate::cli::times::{humane, humane_span, message_span, parse_span};
use crate::cli::words::choice;
use crate::proto::v1;

#[derive(Debug, Args)]
pub(in crate::cli) struct RotateArgs {
    /// The key, key_…
    key_id: String,
    /// How long the old key still works, such as 1h30m or 7d; 0s ends it at once
    #[arg(long, value_name = "SPAN", value_parser = parse_span)]
    overlap: Duration,
    /// Ends the old key earlier, once nobody has used it for so long: from 1m to the overlap
    #[arg(long, value_name = "SPAN", value_parser = parse_span)]
    retire_when_idle_for: Option<Duration>,
    /// Why; kept with the event
    #[arg(long, value_parser = choice::<v1::RevokeReason>(), ignore_case = true)]
    reason: Option<v1::RevokeReason>,
    #[command(flatten)]
    place: SecretOutput,
    #[command(flatten)]
    consent: Consent,
    #[command(flatten)]
    change: ChangeArgs,
}

pub(super) async fn run(args: RotateArgs, session: &mut Session) -> Result<Exit, Failure> {
    let must_ask = args.consent.must_ask()?;
    let overlap = message_span(args.overlap).map_err(Failure::Usage)?;
    let idle = args.retire_when_idle_for;
    let when_idle = idle.map(message_span).transpose().map_err(Failure::Usage)?;
    let mut keys = session.connect().await?.keys();
    if must_ask {
        let which = which(&mut keys, &args.key_id).await?;
        ask(question(&which, args.overlap, idle)).await?;
    }
    let file = args.place.open()?;
    let request = v1::RotateKeyRequest {
        on_behalf_of: args.change.on_behalf_of(),
        key_id: args.key_id,
        overlap: Some(overlap),
        retire_when_idle_for: when_idle,
        reason: args.reason.unwrap_or_default().into(),
        request_id: args.change.request_id,
    };
    let answer = keys.rotate_key(request).await?.into_inner();
    issued(answer).hand_over(file, &mut session.output)?;
    Ok(Exit::Done)
}

fn question(which: &str, overlap: Duration, idle: Option<Duration>) -> String {
    if overlap.is_zero() {
        return format!("Rotate {which}? It stops working at once and for ever.");
    }
    let earlier =
        idle.map(|idle| format!(", or earlier once nobody has used it for {},", humane_span(idle)));
    let earlier = earlier.unwrap_or_default();
    format!("Rotate {which}? It stops working in {}{earlier} and for ever.", humane_span(overlap))
}

fn issued(answer: v1::RotateKeyResponse) -> Issued {
    let key = answer.new_key.unwrap_or_default();
    let old = answer.old_key.unwrap_or_default();
    let until = old
        .retire_time
        .as_ref()
        .map(|time| format!("  until {}", humane(time)))
        .unwrap_or_default();
    let state = enum_or_dash::<v1::KeyState>(old.state);
    let mut fields = key.fields();
    fields.push(("old key", format!("{}  {state}{until}", plain(&old.key_id))));
    Issued {
        name: "secret",
        json: json!({
            "new_key": key.json(),
            "secret": null,
            "old_key": old.json(),
            "position": answer.position,
            "replayed": answer.replayed,
        }),
        fields,
        secret: SecretText::new(answer.secret),
        of: key.key_id,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{issued, question};
    use crate::cli::key::KeyCommand;
    use crate::cli::resources::tests::{assert_fields_of_message, key};
    use crate::cli::tests::{Parsed, parse, refused};
    use crate::proto::v1;

    #[test]
    fn the_overlap_must_be_said() {
        assert!(refused(&["key", "rotate", "key_1"]).contains("--overlap"));
        let Parsed::Key(KeyCommand::Rotate(args)) =
            parse(&["key", "rotate", "key_1", "--overlap", "0s"])
        else {
            panic!("rotates a key")
        };
        assert_eq!((args.overlap, args.retire_when_idle_for), (Duration::ZERO, None));
        let line = ["key", "rotate", "key_1", "--overlap", "7d", "--retire-when-idle-for", "10m"];
        let Parsed::Key(KeyCommand::Rotate(args)) = parse(&line) else { panic!("rotates a key") };
        assert_eq!(args.retire_when_idle_for, Some(Duration::from_mins(10)));
    }

    #[test]
    fn the_question_says_when_the_old_key_ends() {
        assert_eq!(
            question("key_1 (n)", Duration::ZERO, None),
            "Rotate key_1 (n)? It stops working at once and for ever."
        );
        let hour = Duration::from_secs(3_600);
        let asked = question("key_1", hour, None);
        assert_eq!(asked, "Rotate key_1? It stops working in 1 h and for ever.");
        assert_eq!(
            question("key_1", hour, Some(Duration::from_mins(10))),
            "Rotate key_1? It stops working in 1 h, or earlier once nobody has used it for 10 min, and for ever."
        );
    }

    #[test]
    fn a_rotation_is_answered_with_the_fields_of_the_api_and_both_keys() {
        let old = v1::Key {
            key_id: "key_old".to_owned(),
            state: v1::KeyState::Retiring.into(),
            retire_time: Some(prost_types::Timestamp { seconds: 1_795_411_812, nanos: 0 }),
            ..Default::default()
        };
        let answer = v1::RotateKeyResponse {
            new_key: Some(key()),
            old_key: Some(old),
            secret: "kl_live_x".to_owned(),
            ..Default::default()
        };
        let made = issued(answer);
        assert_fields_of_message("RotateKeyResponse", &made.json);
        assert_eq!(made.json["new_key"]["key_id"], key().key_id.as_str());
        assert_eq!(made.json["old_key"]["key_id"], "key_old");
        let last = made.fields.last().expect("has fields");
        assert_eq!(last, &("old key", "key_old  RETIRING  until 2026-11-23 05:30:12Z".to_owned()));
    }
}
