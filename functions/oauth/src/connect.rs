//! A link is opened: the browser is sent to the provider.

use crate::answer::{Answer, Refusal};
use crate::{Oauth, Whom, browser, providers, random};
use clawbridge_clock::Timestamp;
use clawbridge_connections::links::{LIFETIME, has_expired};
use clawbridge_oauth::{Browser, Consent, Failure, State, Ticket, authorization_url, redirect_uri};
use lambda_http::Request;

impl Oauth {
    /// Programs that preview messages open links as well, so nothing is spent here. `only_asks`: not even begun.
    pub(crate) async fn open(
        &self,
        request: &Request,
        ticket: &str,
        only_asks: bool,
        whom: &mut Whom,
    ) -> Result<Answer, Refusal> {
        let now = Timestamp::now();
        // Nothing is looked up for what cannot be one.
        let ticket = Ticket::parse(ticket).ok_or(Failure::LinkUnknown)?;
        let link = self.links.find(&ticket.hash()).await.map_err(Refusal::ours)?.ok_or(Failure::LinkUnknown)?;
        link.name.provider().clone_into(&mut whom.provider);
        link.name.account().clone_into(&mut whom.account);
        if link.completed_at.is_some() {
            return Err(Failure::LinkUsed.into());
        }
        if has_expired(link.created_at, now) {
            return Err(Failure::LinkExpired.into());
        }
        let version = self.version().await?;
        let provider = version.config.provider(link.name.provider()).ok_or(Failure::UnknownProvider)?;
        whom.knows(link.name.provider(), provider);
        if only_asks {
            return Ok(Answer::There);
        }
        let outbound = providers(&version).outbound;
        let server = self.server(&outbound, &link, provider).await?;
        let (base, cookie) = self.address(request, &server.provider)?;
        // One that goes on is the same for consents in several tabs.
        let browser = match browser(request, cookie) {
            Some(browser) => browser,
            None => Browser::new(random()?),
        };
        let state = State::new(random()?);
        let verifier = self.verifier(&state).await?;
        let redirect_uri = redirect_uri(&base, link.name.provider()).map_err(misdeclared)?;
        let location = authorization_url(&Consent {
            provider: &server.provider,
            endpoints: &server.endpoints,
            redirect_uri: &redirect_uri,
            scopes: &server.asked(),
            state: &state,
            verifier: &verifier,
            // The key is made with the tokens; until then PKCE protects the code.
            dpop_thumbprint: None,
        })
        .map_err(misdeclared)?;
        self.links.begin(&state, &link, &browser, now).await.map_err(Refusal::ours)?;
        let seconds = u32::try_from(LIFETIME.as_secs()).unwrap_or(u32::MAX);
        Ok(Answer::Away { location, cookie: cookie.set(&browser, seconds) })
    }
}

fn misdeclared(error: impl ToString) -> Refusal {
    Failure::ClientRefused { code: "CLIENT_MISDECLARED".to_owned(), reason: error.to_string() }.into()
}
