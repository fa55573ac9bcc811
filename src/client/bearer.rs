//! The credential that each call carries.

use thiserror::Error;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Request, Status};
use zeroize::Zeroizing;

/// Adds `authorization: Bearer …` to each call, if there is a credential.
#[derive(Clone, Debug)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

/// A text that no call can carry.
#[derive(Debug, Error)]
#[error("the credential or key holds characters that none has")]
pub struct InvalidCredential;

impl Bearer {
    /// With this credential.
    ///
    /// # Errors
    /// If no header can carry it.
    pub fn new(credential: &str) -> Result<Self, InvalidCredential> {
        let text = Zeroizing::new(format!("Bearer {credential}"));
        let mut value = MetadataValue::try_from(text.as_str()).map_err(|_| InvalidCredential)?;
        value.set_sensitive(true);
        Ok(Bearer(Some(value)))
    }

    /// Without one: where a client certificate says who calls.
    #[must_use]
    pub fn none() -> Self {
        Bearer(None)
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_credential_is_sent_as_a_sensitive_bearer_token() {
        let mut bearer = Bearer::new("kl_svc_a").expect("is a header");
        let request = bearer.call(Request::new(())).expect("passes");
        let value = request.metadata().get("authorization").expect("is set");
        assert_eq!(value.to_str().expect("is text"), "Bearer kl_svc_a");
        assert!(value.is_sensitive());
        assert!(!format!("{request:?} {bearer:?}").contains("kl_svc_a"));
    }

    #[test]
    fn a_credential_that_no_header_can_carry_is_refused_without_being_shown() {
        let refused = Bearer::new("kl_svc\na").expect_err("is refused");
        assert!(!format!("{refused} {refused:?}").contains("kl_svc"));
    }
}
