//! Hand-over to an installer: cut at every write of ours and at each call, and with an installer that lies.

use tuffet_agent::boot::{BootRecord, SlotImage, TrialEnd, Unfit};
use tuffet_agent::flash_map::Region;
use tuffet_agent::handover::{External, Handover as _, Installer, Verb};
use tuffet_agent::{Environment, Error, Flash, InstallerFault, Misuse, SlotId};

use crate::handover::device;
use crate::nor::{Cut, Nor};

type TestFlash = Flash<Nor<256, 4>>;

/// A device that installs on its own. What it holds outlives a cut.
#[derive(Clone, Debug)]
struct Own {
    runs: [u8; 32],
    active: [u8; 32],
    next: Option<[u8; 32]>,
    /// The image that was taken in this boot.
    taken: Option<[u8; 32]>,
    /// Reports success and does nothing.
    lies: bool,
    /// Calls that are still answered; then the power fails, before a call does anything or after it did.
    left: usize,
    after: bool,
    calls: Vec<Verb>,
}

impl Own {
    fn new(active: [u8; 32]) -> Self {
        let calls = Vec::new();
        Self {
            runs: active,
            active,
            next: None,
            taken: None,
            lies: false,
            left: usize::MAX,
            after: false,
            calls,
        }
    }

    fn call(&mut self, verb: Verb, act: impl FnOnce(&mut Self)) -> Result<(), Error> {
        self.calls.push(verb);
        let fault = Environment::Installer { verb, fault: InstallerFault::NoAnswer };
        let cut = self.left == 0;
        if !self.lies && (!cut || self.after) {
            act(self);
        }
        self.left = self.left.saturating_sub(1);
        if cut { Err(fault.into()) } else { Ok(()) }
    }

    /// The image that was taken is tried once; one that was not confirmed by the next start is gone.
    fn restart(&mut self) {
        self.runs = self.next.take().unwrap_or(self.active);
        (self.taken, self.left) = (None, usize::MAX);
    }
}

impl Installer<Nor<256, 4>> for Own {
    fn running(&mut self) -> Result<[u8; 32], Error> {
        Ok(self.runs)
    }

    fn has_restarted(&mut self, image: &SlotImage) -> Result<bool, Error> {
        Ok(self.taken != Some(image.digest))
    }

    fn install(&mut self, _: &mut TestFlash, _: Region, image: &SlotImage) -> Result<(), Error> {
        let digest = image.digest;
        self.taken = Some(digest);
        self.call(Verb::Install, |own| own.next = Some(digest))
    }

    fn confirm(&mut self, _: &SlotImage) -> Result<(), Error> {
        self.call(Verb::Confirm, |own| own.active = own.runs)
    }

    fn revert(&mut self, _: &SlotImage) -> Result<(), Error> {
        self.call(Verb::Revert, |own| own.next = None)
    }
}

/// What a turn does, without its repository. True as long as there is something to do.
fn turn(
    flash: &mut TestFlash,
    handover: &mut External<Own>,
    new: &SlotImage,
    healthy: bool,
) -> Result<bool, Error> {
    let standing = match handover.standing(flash) {
        Err(Error::Environment(Environment::GivenUpRuns)) => {
            handover.0.restart();
            return Ok(true);
        }
        standing => standing?,
    };
    if standing.on_trial {
        if healthy {
            handover.confirm(flash)?;
        } else {
            handover.revert(flash, Unfit::Health)?;
        }
        return Ok(true);
    }
    let reverted = standing.record.ended.is_some_and(|ended| ended.end == TrialEnd::Reverted);
    if standing.record.active.digest == new.digest || (reverted && standing.record.trial.is_none()) {
        return Ok(false);
    }
    handover.request(flash, new)?;
    handover.0.restart();
    Ok(true)
}

/// Goes on until nothing is to do; the device restarts after each fault.
fn live(flash: &mut TestFlash, handover: &mut External<Own>, new: &SlotImage, healthy: bool) -> usize {
    for turns in 0..20 {
        match turn(flash, handover, new, healthy) {
            Ok(true) => {}
            Ok(false) => return turns,
            Err(_) => {
                flash.nor_mut().power_on();
                handover.0.restart();
            }
        }
        let record = BootRecord::load(flash).unwrap();
        assert!(!record.active.digest.iter().all(|byte| *byte == 0));
    }
    panic!("no end: {:?} {:?}", BootRecord::load(flash), handover.0);
}

#[test]
fn update_and_revert_cut_anywhere_come_to_the_same_end() {
    let (fresh, new) = device();
    let active = BootRecord::load(&mut fresh.clone()).unwrap().active;
    let mut cases = 0;
    for healthy in [true, false] {
        let end = if healthy { new.digest } else { active.digest };
        let (mut flash, mut handover) = (fresh.clone(), External(Own::new(active.digest)));
        flash.nor_mut().plan(None);
        live(&mut flash, &mut handover, &new, healthy);
        let (operations, calls) = (flash.nor().operations.clone(), handover.0.calls.len());
        let mut check = |flash: &mut TestFlash, handover: &mut External<Own>, what: String| {
            live(flash, handover, &new, healthy);
            let record = BootRecord::load(flash).unwrap();
            assert_eq!((record.active.digest, handover.0.runs), (end, end), "{what}");
            assert_eq!((record.trial, handover.0.next), (None, None), "{what}");
            // Whatever was confirmed there is what starts from now on.
            handover.0.restart();
            assert!(!handover.standing(flash).unwrap().on_trial, "{what}");
            cases += 1;
        };
        for cut in Cut::all(&operations) {
            let (mut flash, mut handover) = (fresh.clone(), External(Own::new(active.digest)));
            flash.nor_mut().plan(Some(cut));
            check(&mut flash, &mut handover, format!("{healthy} {cut:?}"));
        }
        for (call, after) in (0..calls).flat_map(|call| [(call, false), (call, true)]) {
            let (mut flash, mut handover) = (fresh.clone(), External(Own::new(active.digest)));
            (handover.0.left, handover.0.after) = (call, after);
            check(&mut flash, &mut handover, format!("{healthy} call {call} {after}"));
        }
    }
    assert!(cases > 1000, "{cases}");
}

#[test]
fn installer_that_lies_is_found_out_at_the_next_start() {
    let (mut flash, new) = device();
    let active = BootRecord::load(&mut flash).unwrap().active;
    let mut handover = External(Own { lies: true, ..Own::new(active.digest) });
    handover.request(&mut flash, &new).unwrap();
    assert!(handover.standing(&mut flash).unwrap().record.trial.is_some(), "nothing has restarted");
    assert_eq!(handover.confirm(&mut flash), Err(Misuse::NotOnTrial.into()));
    handover.0.restart();
    let record = handover.standing(&mut flash).unwrap().record;
    assert_eq!((record.active, record.trial), (active, None));
    assert_eq!(record.ended.map(|ended| ended.end), Some(TrialEnd::TriesSpent));

    handover.0.runs = [7; 32];
    assert_eq!(handover.standing(&mut flash), Err(Environment::UnknownRuns.into()));
}

#[test]
fn image_that_changed_since_it_was_staged_is_not_handed_over() {
    let (mut flash, new) = device();
    let active = BootRecord::load(&mut flash).unwrap().active;
    let place = flash.map().slot(SlotId::B).offset as usize;
    flash.nor_mut().forge(place + 600, &[0]);
    let mut handover = External(Own::new(active.digest));
    let changed = Environment::ImageNotWritten { slot: SlotId::B };
    assert_eq!(handover.request(&mut flash, &new), Err(changed.into()));
    assert!(handover.0.calls.is_empty());
}

#[test]
fn request_that_the_installer_never_saw_costs_no_attempt() {
    let (mut flash, new) = device();
    let active = BootRecord::load(&mut flash).unwrap().active;
    let mut handover = External(Own { left: 0, ..Own::new(active.digest) });
    let unanswered = Environment::Installer { verb: Verb::Install, fault: InstallerFault::NoAnswer };
    assert_eq!(handover.request(&mut flash, &new), Err(unanswered.into()));
    handover.0.restart();
    let record = handover.standing(&mut flash).unwrap().record;
    assert_eq!((record.trial.map(|trial| trial.tries_left), record.ended), (Some(1), None));
    handover.request(&mut flash, &new).unwrap();
    assert_eq!(handover.0.next, Some(new.digest));

    // Withdrawn, and the power fails before the installer knows: it is started, and was not tried in vain.
    handover.0.left = 0;
    assert!(handover.revert(&mut flash, Unfit::Withdrawn).is_err());
    handover.0.runs = active.digest;
    handover.0.taken = None;
    let record = handover.standing(&mut flash).unwrap().record;
    assert_eq!((record.trial.map(|trial| trial.tries_left), record.ended), (Some(1), None));
}
