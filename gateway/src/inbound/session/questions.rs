//! The questions of the protocol's states that only the gateway can answer: who is this, may it, is there room.

use std::{sync::Arc, time::Duration};

use posthouse_config::Snapshot;
use posthouse_smtp::server::{Claim, DataRequest, Login, MailRequest, Step};
use tokio::io::{AsyncRead, AsyncWrite};
use tracing::info;

use super::{Ended, Session, visit::Patience};
use crate::inbound::{
    Store, StoreError,
    admission::Admitted,
    authentication::{self, Judged, Proven},
    refusal::{self, Refusal},
};

/// What a wrong password costs: guessing becomes slow, a mistake stays bearable.
const WRONG_PASSWORD: Duration = Duration::from_secs(1);

impl<T: AsyncRead + AsyncWrite + Unpin, S: Store> Session<'_, T, S> {
    /// Is the client who it says? Being wrong takes its time.
    pub(super) async fn authenticate(&mut self, claim: Claim) -> Result<Step, Ended> {
        let snapshot = self.visit.inbound.snapshot();
        let now = self.visit.inbound.parts.clock.wall();
        let (presented, is_in_clear) = (claim.presented(), claim.is_in_clear());
        let (judged, error) = authentication::judge(&snapshot, presented, is_in_clear, now);
        if let Some(error) = error {
            info!(session = self.visit.number, %error, "token refused");
        }
        let refusal = match judged {
            Judged::Right(proven) => return self.log_in(&snapshot, claim, proven),
            Judged::Wrong(refusal) => {
                self.visit.refused(refusal.cause, &refusal.reply);
                self.visit.inbound.parts.clock.sleep(WRONG_PASSWORD).await;
                return Ok(claim.refuse(refusal.reply));
            }
            Judged::Later(refusal) => refusal,
            Judged::UnknownKey(refusal, id) => {
                let unknown = &self.visit.inbound.unknown_keys;
                unknown.note(snapshot.document.tokens.as_ref(), &id);
                refusal
            }
        };
        self.visit.refused(refusal.cause, &refusal.reply);
        Ok(claim.defer(refusal.reply))
    }

    fn log_in(
        &mut self,
        snapshot: &Arc<Snapshot>,
        claim: Claim,
        proven: Proven,
    ) -> Result<Step, Ended> {
        let login = Login::As(Arc::clone(&proven.username));
        match self.identify(snapshot, &login)? {
            Ok(_) => {
                let now = self.visit.inbound.parts.clock.now();
                self.visit.patience = Patience::Proven;
                self.visit.proof = Some(proven.proof);
                self.visit.login_ends = proven.lasts.map(|lasts| now.plus(lasts));
                Ok(claim.accept(proven.username))
            }
            Err(refusal) => Ok(claim.defer(refusal.reply)),
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
