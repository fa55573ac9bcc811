//! What the gate asks of who knows the callers.

use std::sync::Arc;

use crate::app::App;
use crate::app::error::AppError;
use crate::app::identify::Identity;
use crate::app::identify::certificate::ClientCertificate;
use crate::domain::conduct::window::RefusedOne;
use crate::grpc::ended::Ending;

/// Knows callers by their credentials and certificates, and notes what calls were refused.
pub trait Callers: Send + Sync + 'static {
    /// The caller of that credential.
    ///
    /// # Errors
    /// [`AppError::CredentialInvalid`] for every credential that does not work.
    fn recognise(&self, credential: &str) -> Result<Identity, AppError>;

    /// The caller that the certificate names; none if it names none that works.
    ///
    /// # Errors
    /// [`AppError::CredentialInvalid`] if it names more than one.
    fn recognise_certificate(
        &self,
        certificate: &ClientCertificate,
    ) -> Result<Option<Identity>, AppError>;

    /// Whether what a caller was recognised by still works, and the caller has not changed since.
    fn is_unchanged(&self, identity: &Identity) -> bool;

    /// Notes that a caller calls, whatever comes of it.
    fn note_call(&self, identity: &Identity);

    /// Resolves when what the caller was recognised by works no more.
    fn ended(&self, identity: &Arc<Identity>) -> Ending;

    /// Notes a refused call, for the record.
    fn note_refused(&self, one: RefusedOne);
}

impl Callers for App {
    fn recognise(&self, credential: &str) -> Result<Identity, AppError> {
        self.identify(credential)
    }

    fn recognise_certificate(
        &self,
        certificate: &ClientCertificate,
    ) -> Result<Option<Identity>, AppError> {
        self.identify_certificate(certificate)
    }

    fn is_unchanged(&self, identity: &Identity) -> bool {
        App::is_unchanged(self, identity)
    }

    fn note_call(&self, identity: &Identity) {
        App::note_call(self, identity);
    }

    fn ended(&self, identity: &Arc<Identity>) -> Ending {
        Box::pin(App::ended(self, identity))
    }

    fn note_refused(&self, one: RefusedOne) {
        App::note_refused(self, one);
    }
}
