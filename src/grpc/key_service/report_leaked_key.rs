//! ReportLeakedKey.

use tonic::Request;
use zeroize::Zeroizing;

use crate::app::App;
use crate::app::error::AppError;
use crate::domain::ids::KeyId;
use crate::grpc::call::Incoming;
use crate::grpc::decode::{MAX_COMMENT, Violations};
use crate::proto::v1::{ReportLeakedKeyRequest, ReportLeakedKeyResponse};

pub(super) async fn handle(
    app: &App,
    request: Request<ReportLeakedKeyRequest>,
) -> Result<ReportLeakedKeyResponse, AppError> {
    let mut incoming = Incoming::of(request)?;
    let api_key = Zeroizing::new(std::mem::take(&mut incoming.message.api_key));
    // What tells repeated calls apart holds the key's public id in place of its text.
    let id = app.parse_key(&api_key).map(|presented| KeyId(presented.id).to_string());
    incoming.message.api_key = id.unwrap_or_default();
    let (call, source) = incoming.read(|bad, message| read(bad, &api_key, message))?;
    let report = app.report_leaked_key(&call, &api_key, source).await?;
    Ok(ReportLeakedKeyResponse {
        key_id: report.id.to_string(),
        revoked: report.revoked,
        position: report.position.get(),
        replayed: report.replayed,
    })
}

fn read(bad: &mut Violations, api_key: &str, message: ReportLeakedKeyRequest) -> Option<String> {
    bad.api_key("api_key", api_key)?;
    let source = bad.prose("source", MAX_COMMENT, message.source)?;
    if !api_key.is_empty() && source.contains(api_key) {
        return bad.refuse("source", "must not hold the key");
    }
    Some(source)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::decode::tests::violated;

    fn found(api_key: &str, source: &str) -> Vec<String> {
        let message = ReportLeakedKeyRequest { source: source.to_owned(), ..Default::default() };
        violated(|bad| read(bad, api_key, message))
    }

    #[test]
    fn a_report_keeps_its_bounds_and_the_key_out_of_its_source() {
        assert_eq!(found("kl_live_1", "https://example.org/paste"), [""; 0]);
        assert_eq!(found("kl_live_1", ""), [""; 0]);
        assert_eq!(found("", "somewhere"), [""; 0]);
        assert_eq!(found("kl_live_1", "seen: kl_live_1."), ["source"]);
        assert_eq!(found("kl_live_1", "\u{7f}"), ["source"]);
        assert_eq!(found(&"k".repeat(513), ""), ["api_key"]);
    }
}
