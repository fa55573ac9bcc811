//! RotatePepper, RetirePepper and ListPepperDependents.

use std::sync::Arc;

use tonic::Request;

use crate::app::App;
use crate::app::error::AppError;
use crate::app::peppers::Dependent;
use crate::domain::ids::PepperVersion;
use crate::grpc::call::{Incoming, identity};
use crate::grpc::decode::{Violations, decode};
use crate::grpc::encode;
use crate::proto::v1::{
    ListPepperDependentsRequest, ListPepperDependentsResponse, PepperDependent,
    RetirePepperRequest, RetirePepperResponse, RotatePepperRequest, RotatePepperResponse,
    pepper_dependent,
};

pub(super) async fn rotate(
    app: &Arc<App>,
    request: Request<RotatePepperRequest>,
) -> Result<RotatePepperResponse, AppError> {
    let (call, ()) = Incoming::of(request)?.read(|_, _| Some(()))?;
    let rotated = app.rotate_pepper(&call).await?;
    Ok(RotatePepperResponse {
        version: rotated.version.0.into(),
        position: rotated.position.get(),
        replayed: rotated.replayed,
    })
}

pub(super) async fn retire(
    app: &Arc<App>,
    request: Request<RetirePepperRequest>,
) -> Result<RetirePepperResponse, AppError> {
    let (call, (version, accepted)) =
        Incoming::of(request)?.read(|bad, message| read_retirement(bad, &message))?;
    let retired = app.retire_pepper(&call, version, accepted).await?;
    Ok(RetirePepperResponse {
        destroyed: retired.destroyed,
        position: retired.position.get(),
        replayed: retired.replayed,
    })
}

/// Which pepper, and how many may end with it if any may.
fn read_retirement(
    bad: &mut Violations,
    message: &RetirePepperRequest,
) -> Option<(PepperVersion, Option<u64>)> {
    let version = pepper(bad, message.version);
    let accepted = match (message.force, message.expected_remaining) {
        (true, expected) => Some(Some(expected)),
        (false, 0) => Some(None),
        (false, _) => bad.refuse("expected_remaining", "must be 0 without force"),
    };
    Some((version?, accepted?))
}

pub(super) async fn list(
    app: &Arc<App>,
    request: Request<ListPepperDependentsRequest>,
) -> Result<ListPepperDependentsResponse, AppError> {
    let identity = identity(&request)?;
    let ListPepperDependentsRequest { version, page_size, page_token } = request.into_inner();
    let (version, page) = decode(|bad| {
        let list = [&b"ListPepperDependents"[..], &version.to_be_bytes()].concat();
        let (version, page) = (pepper(bad, version), bad.page(page_size, page_token, list));
        Some((version?, page?))
    })?;
    let found = app.pepper_dependents(&identity, version, &page).await?;
    Ok(ListPepperDependentsResponse {
        dependents: found.items.into_iter().map(dependent).collect(),
        next_page_token: found.next.unwrap_or_default(),
    })
}

fn dependent(dependent: Dependent) -> PepperDependent {
    let dependent = match dependent {
        Dependent::Key(view) => pepper_dependent::Dependent::Key(Box::new(encode::key(view))),
        Dependent::Caller(view) => {
            pepper_dependent::Dependent::Caller(Box::new(encode::caller(&view)))
        }
    };
    PepperDependent { dependent: Some(dependent) }
}

fn pepper(bad: &mut Violations, version: u32) -> Option<PepperVersion> {
    let number = u16::try_from(version).ok().filter(|number| *number > 0);
    let must = format_args!("must be 1 to {}", u16::MAX);
    number.map(PepperVersion).or_else(|| bad.refuse("version", must))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::decode::tests::violated;

    #[test]
    fn a_pepper_is_named_by_its_number_and_numbers_are_expected_by_force_alone() {
        let read = |version, force, expected_remaining| {
            let request =
                RetirePepperRequest { version, force, expected_remaining, ..Default::default() };
            violated(|bad| read_retirement(bad, &request))
        };
        assert_eq!(read(65_535, true, 7), [""; 0]);
        assert_eq!(read(1, false, 0), [""; 0]);
        assert_eq!(read(0, false, 1), ["version", "expected_remaining"]);
        assert_eq!(read(65_536, true, 0), ["version"]);
    }
}
