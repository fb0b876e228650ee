//! The secret that a provider's handshake told, for a source that waits for it.

use crate::{Trouble, Worker};
use clawbridge_journal::Entry;
use clawbridge_queue::SourceSecretMessage;
use clawbridge_secrets::{SecretError, Stage};
use clawbridge_signatures::Source;

impl Worker {
    /// Keeps the secret if the source still waits. Anybody who knows the address could have sent it: the first counts, and the operator
    /// compares it with what the provider shows before the provider is told that it arrived.
    pub(crate) async fn learn(&self, message: &SourceSecretMessage) -> Result<(), Trouble> {
        let name = self.deployment.secret_name(&format!("clawbridge/sources/{}", message.source));
        let value = match self.secrets.get_now(&name, Stage::Current).await {
            Ok(value) => value,
            Err(SecretError::Missing { .. }) => return Ok(()),
            Err(error) => return Err(Trouble::Other(error.to_string())),
        };
        let Some(source) = Source::from_secret(value.expose()).ok().filter(Source::is_pending) else { return Ok(()) };
        // One that cannot be a secret of the scheme is not worth coming back to.
        let Ok(learned) = source.with_secrets(vec![message.secret.clone()]) else { return Ok(()) };
        self.secrets.put(&name, &learned.to_secret()).await.map_err(|error| Trouble::Other(error.to_string()))?;
        clawbridge_journal::write(&Entry::SourceLearned { source: &message.source });
        Ok(())
    }
}
