//! The questions of the protocol's states that only the gateway can answer: who is this, may it, is there room.

use std::{sync::Arc, time::Duration};

use posthouse_config::Snapshot;
use posthouse_smtp::server::{Claim, DataRequest, Login, MailRequest, Step};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Ended, Session, visit::Patience};
use crate::inbound::{
    Store, StoreError,
    admission::Admitted,
    authentication::{self, Verdict},
    refusal::{self, Refusal},
};

/// What a wrong password costs: guessing becomes slow, a mistake stays bearable.
const WRONG_PASSWORD: Duration = Duration::from_secs(1);

impl<T: AsyncRead + AsyncWrite + Unpin, S: Store> Session<'_, T, S> {
    /// Does the name fit the password? Being wrong takes its time.
    pub(super) async fn authenticate(&mut self, claim: Claim) -> Result<Step, Ended> {
        let snapshot = self.visit.inbound.snapshot();
        match authentication::judge(&snapshot, claim.credentials()) {
            Verdict::Right(proof) => {
                let username: Arc<str> = claim.credentials().username.as_str().into();
                let login = Login::As(Arc::clone(&username));
                match self.identify(&snapshot, &login)? {
                    Ok(_) => {
                        self.visit.patience = Patience::Proven;
                        self.visit.proof = Some(proof);
                        Ok(claim.accept(username))
                    }
                    Err(refusal) => Ok(claim.defer(refusal.reply)),
                }
            }
            Verdict::Wrong => {
                let refusal = refusal::wrong_password();
                self.visit.refused(refusal.cause, &refusal.reply);
                self.visit.inbound.parts.clock.sleep(WRONG_PASSWORD).await;
                Ok(claim.refuse(refusal.reply))
            }
            Verdict::KeyMissing => {
                let refusal = refusal::key_missing();
                self.visit.refused(refusal.cause, &refusal.reply);
                Ok(claim.defer(refusal.reply))
            }
        }
    }

    /// Finds out who the client is, and gives it its place among that sender's sessions.
    fn identify(
        &mut self,
        snapshot: &Arc<Snapshot>,
        login: &Login,
    ) -> Result<Result<Admitted, Refusal>, Ended> {
        let visit = &mut *self.visit;
        let admitted = Admitted::identify(snapshot, &visit.listener, login, visit.address);
        let Ok(client) = &admitted else {
            return Ok(admitted);
        };
        let limit = usize::try_from(snapshot.document.limits.sessions).unwrap_or(usize::MAX);
        if visit.place.belongs_to(&client.identity(), limit) {
            return Ok(admitted);
        }
        self.wire.say(&refusal::too_many_sessions());
        Err(Ended::OverLimit)
    }

    /// The same for a client that may have logged in long ago: a password that was withdrawn since then opens nothing.
    fn identify_again(
        &mut self,
        snapshot: &Arc<Snapshot>,
        login: &Login,
    ) -> Result<Result<Admitted, Refusal>, Ended> {
        let identified = self.identify(snapshot, login)?;
        let (Login::As(_), Ok(client)) = (login, &identified) else {
            return Ok(identified);
        };
        let proof = self.visit.proof.as_ref();
        if proof.is_some_and(|proof| client.is_proved_by(proof)) {
            return Ok(identified);
        }
        let refusal = refusal::login_withdrawn();
        self.visit.refused(refusal.cause, &refusal.reply);
        self.wire.say(&refusal.reply);
        Err(Ended::Completed)
    }

    /// May this client begin this transaction?
    pub(super) fn admit(&mut self, request: MailRequest) -> Result<Step, Ended> {
        let snapshot = self.visit.inbound.snapshot();
        if self.visit.inbound.is_draining(&snapshot) {
            return self.drain();
        }
        let identified = self.identify_again(&snapshot, request.login())?;
        let admitted = identified.and_then(|client| {
            client.may_use(request.reverse_path())?;
            self.backlog(&client)
        });
        match admitted {
            Ok(()) => {
                self.visit.patience = Patience::Proven;
                Ok(request.accept())
            }
            Err(refusal) => {
                self.visit.refused(refusal.cause, &refusal.reply);
                Ok(request.refuse(refusal.reply))
            }
        }
    }

    /// Mail over a sender's rate waits in the queue; only when too much waits is more refused.
    fn backlog(&self, client: &Admitted) -> Result<(), Refusal> {
        let Some(limit) = client.queued_limit() else {
            return Ok(());
        };
        let waiting = self.visit.inbound.parts.intake.backlog(&client.identity());
        if waiting < u64::from(limit) {
            Ok(())
        } else {
            Err(refusal::backlog())
        }
    }

    /// New mail is to go to another gateway.
    fn drain<R>(&mut self) -> Result<R, Ended> {
        let refusal = refusal::draining();
        self.visit.refused(refusal.cause, &refusal.reply);
        self.wire.say(&refusal.reply);
        Err(Ended::Completed)
    }

    /// Asks for room, then takes content and answers for it.
    pub(super) async fn take_content(&mut self, request: DataRequest) -> Result<Step, Ended> {
        let snapshot = self.visit.inbound.snapshot();
        let admitted = self
            .identify_again(&snapshot, request.login())?
            .and_then(|client| {
                if self.visit.inbound.parts.store.has_room() {
                    Ok(client)
                } else {
                    Err(refusal::not_stored(StoreError::Full))
                }
            });
        match admitted {
            Ok(client) => {
                let (content, reply) = request.accept();
                self.wire.say(&reply);
                self.receive(&snapshot, client, content).await
            }
            Err(refusal) => {
                self.visit.refused(refusal.cause, &refusal.reply);
                Ok(request.refuse(refusal.reply))
            }
        }
    }
}
