//! How a turn ends, and what is waited after which end.

use embedded_storage::nor_flash::NorFlash;

use super::{End, Purpose, State, Turn};
use crate::engine::{Outcome, Want};
use crate::error::{Environment, Error};
use crate::event::Event;
use crate::handover::Handover;
use crate::product::{Ask, Product};
use crate::progress::Progress;
use crate::report::FAILED;
use crate::schedule::{ASK_AGAIN, DAY, HEALTH_AGAIN, one_more};
use crate::transport::TransportFault;

impl<F: NorFlash, H: Handover<F>> Turn<'_, F, H> {
    /// Whether the first turn after a start waits, for the last ones before it failed.
    pub(super) fn waits_first(&self) -> bool {
        !self.asked_for && (self.progress.failures > 0 || self.progress.busy > 0)
    }

    /// Ends the turn, unless it goes on. Out of line, so that its stack is not below that of a verification.
    #[inline(never)]
    pub(super) fn settle_for(&mut self, went: Result<Option<End>, Error>, product: &mut dyn Product) {
        let went = match went {
            Ok(None) => return,
            Ok(Some(end)) => Ok(end),
            Err(error) => Err(error),
        };
        let proves = matches!(self.state, State::Refresh(Purpose::Contact));
        let mut moved_on = false;
        if let (State::Download { writer, before, .. }, Some(_)) = (&self.state, self.progress.download) {
            self.after.written = writer.written();
            moved_on = self.after.written > *before;
        }
        self.state = State::Over;
        self.after.on_trial &= went != Ok(End::Confirmed);
        let Progress { failures, last, busy, .. } = self.progress;
        let after = match went {
            Err(Error::Environment(Environment::Transport(TransportFault::Busy { after, .. }))) => {
                after.min(DAY)
            }
            _ => 0,
        };
        if let (true, Err(error)) = (proves, went) {
            self.after.contacts = one_more(self.after.contacts);
            product.observe(Event::NoContact(error));
            let pause = self.settings.pause_after(self.after.contacts, self.device.id);
            self.want = Want::Wait(pause.max(after));
            self.outcome = Ok(Outcome::NoContact(self.image.clone(), error));
        } else {
            self.want = self.pause(went, after, moved_on, product);
            self.outcome = went.map(|end| self.ended(end));
        }
        // Who only waits says what it waits for.
        if !matches!(went, Ok(End::NotAllowed | End::NotYet | End::TooEarly)) {
            self.after.last = match &self.outcome {
                Ok(outcome @ Outcome::NoContact(_, error)) => (outcome.code(), error.code()),
                Ok(outcome) => (outcome.code(), 0),
                Err(error) => (FAILED, error.code()),
            };
            // Nothing new is no news, and not worth a write.
            if went != Ok(End::UpToDate) {
                self.progress.last = self.after.last;
            }
        }
        if (failures, last, busy) != (self.progress.failures, self.progress.last, self.progress.busy) {
            // What cannot be noted is counted again after a restart.
            let _ = self.note();
        }
    }

    fn ended(&self, end: End) -> Outcome {
        let image = self.image.clone();
        match end {
            End::UpToDate => Outcome::UpToDate,
            End::Superseded => Outcome::Superseded,
            End::NotAllowed | End::NotYet => Outcome::NotAllowed,
            End::TooEarly => Outcome::TooEarly,
            End::Spent => Outcome::Spent,
            End::Staged => Outcome::Staged(image),
            End::Pending => Outcome::Pending(image),
            End::Confirmed => Outcome::Confirmed(image),
            End::Reverted => Outcome::Reverted(image),
            End::Undecided => Outcome::Undecided(image),
        }
    }

    /// What to do after the turn, if the server does not want to be asked for so many seconds. One in which a download moved on
    /// by a page is no failure: such turns have an end.
    fn pause(
        &mut self,
        went: Result<End, Error>,
        after: u32,
        moved_on: bool,
        product: &mut dyn Product,
    ) -> Want {
        let (settings, id) = (*self.settings, self.device.id);
        let failures = match went {
            Err(_) if !self.asked_for && !moved_on => one_more(self.progress.failures),
            // A bootloader that was asked before this turn has not tried it yet.
            Ok(End::Pending) if self.authorised && self.record.trial.is_some() => {
                one_more(self.progress.failures)
            }
            Ok(End::Pending) if !self.authorised => self.progress.failures,
            Ok(End::UpToDate | End::Staged | End::Pending | End::Superseded | End::Confirmed) => 0,
            // A device that is switched off before the pause is over has waited, too.
            Ok(End::TooEarly) => self.progress.failures >> 1,
            _ => self.progress.failures,
        };
        let Progress { failures: paused, busy, .. } = self.progress;
        self.progress.failures = failures;
        // A device that is switched off before the pause is over has waited, too.
        self.progress.busy =
            if went == Ok(End::TooEarly) { busy >> 1 } else { after.saturating_add(63) >> 6 };
        let seconds = match went {
            Err(error) => {
                product.observe(Event::Failed(error));
                let pause = settings.pause_after(failures, id);
                match error {
                    // What the server says it does not have, or does not give to us, it will not have in a minute.
                    Error::Environment(Environment::Transport(
                        TransportFault::Status { code: 400..=499 } | TransportFault::NotFound,
                    ))
                    | Error::Environment(Environment::Metadata(tuffet_client::Environment::Missing {
                        ..
                    })) => pause.max(settings.pause(id)),
                    _ => pause.max(after),
                }
            }
            Ok(End::TooEarly) => settings.pause_after(paused, id).max(busy << 6),
            // Whoever asks a product each minute need not ask the repository each time.
            Ok(End::UpToDate | End::NotYet) => settings.pause(id),
            Ok(End::Spent) => settings.pause(id).max(60 * 60),
            Ok(End::Superseded) => settings.retry,
            Ok(End::Confirmed) => 1,
            Ok(End::Undecided) => HEALTH_AGAIN,
            Ok(End::Staged | End::NotAllowed) => ASK_AGAIN,
            // Not if it was refused a moment ago: what is pending is authorised before a restart, and not after it was asked.
            Ok(End::Pending) if !self.authorised => ASK_AGAIN,
            Ok(End::Pending | End::Reverted) => {
                if product.may(Ask::Restart(&self.image)) {
                    return Want::Restart;
                }
                ASK_AGAIN
            }
        };
        Want::Wait(seconds)
    }
}
