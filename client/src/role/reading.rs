//! Reading: what each place of a file means, from the scanner's values to the facts on a sheet.

use crate::crypto::Crypto;
use crate::error::{Bound, Field};
use crate::key::{Algorithm, KeyId, Keys, hex_array, hex_exact};
use crate::limits::Limits;
use crate::release::Device;
use crate::role::delegations::{self, has_prefix, matches, push_name};
use crate::role::kept::KeptSnapshot;
use crate::role::meta::Tracked;
use crate::role::place::{Kind, Place};
use crate::role::{Role, Sheet};
use crate::scan::{Fault, Reader, Value};
use crate::time;

/// What a reader has to know besides the file.
pub(crate) struct Context<'c> {
    pub(crate) crypto: &'c Crypto,
    pub(crate) limits: &'c Limits,
    pub(crate) device: Option<&'c Device<'c>>,
    /// The target that the caller named.
    pub(crate) named: &'c str,
    /// SHA-256 of the path that is looked for.
    pub(crate) path_sha256: [u8; 32],
    /// Seconds since 1970: the cycle's start time.
    pub(crate) start: u64,
    /// Roles whose entries in a snapshot are wanted.
    pub(crate) tracked: &'c [Tracked],
    /// The role that a search came to is the last of the visited names; is its entry wanted?
    pub(crate) seek_role: bool,
    /// Keys are all that is wanted of this pass.
    pub(crate) keys_only: bool,
}

impl<'c> Context<'c> {
    /// Nothing is looked for.
    pub(crate) fn of(crypto: &'c Crypto, limits: &'c Limits) -> Self {
        Context {
            crypto,
            limits,
            device: None,
            named: "",
            path_sha256: [0; 32],
            start: 0,
            tracked: &[],
            seek_role: false,
            keys_only: false,
        }
    }
}

/// A sheet being written.
pub(crate) struct Reading<'r, 'm, 'k> {
    pub(crate) sheet: &'r mut Sheet<'m>,
    pub(crate) context: Context<'r>,
    /// The snapshot that was trusted before, where the environment kept it.
    pub(crate) kept: Option<&'r mut (dyn KeptSnapshot + 'k)>,
}

impl Reader for Reading<'_, '_, '_> {
    fn member(&mut self, place: Place, key: &[u8]) -> Result<Place, Fault> {
        let Reading { sheet, context, kept } = self;
        Ok(match place {
            Place::Keys => sheet.begin_key(key, context.limits, context.keys_only)?,
            Place::Roles => sheet.root.begin(key),
            Place::Meta => {
                if let Some(kept) = kept {
                    kept.meet(key);
                }
                let (wanted, tracked) = match sheet.role {
                    // 4.6: it speaks of the snapshot alone. Of targets roles the snapshot's keys have the word.
                    Role::Timestamp => (Role::Snapshot.name().as_bytes(), &[][..]),
                    _ if context.seek_role => {
                        let name = delegations::names(sheet.names.as_slice()).last();
                        (name.unwrap_or_default(), context.tracked)
                    }
                    _ => (Role::Targets.name().as_bytes(), context.tracked),
                };
                sheet.meta.begin(wanted, tracked, kept.is_some(), key)
            }
            Place::Targets => sheet.targets.begin(context.named, key),
            _ => match place.member(sheet.role, key) {
                Place::Custom => sheet.targets.custom(),
                // Of candidates behind the one that was taken only their order matters.
                inner
                    if place == Place::Candidate && sheet.targets.entry.taken && inner != Place::Sequence =>
                {
                    Place::Skip
                }
                Place::MetaSha512 | Place::Sha512 if !context.crypto.sha512 => Place::Skip,
                Place::DelegatedRoles | Place::Succinct | Place::Targets if context.keys_only => Place::Skip,
                // TAP 15: bins stand in the place of a list of roles, not beside one.
                Place::Succinct if sheet.seen.has(Place::DelegatedRoles) => {
                    return Err(Fault::Field(Field::Delegations));
                }
                place @ (Place::DelegatedRole | Place::Succinct) => sheet.delegations.begin(place),
                place => place,
            },
        })
    }

    fn value(&mut self, place: Place, value: Value<'_>) -> Result<(), Fault> {
        let (kind, field) = place.form();
        let wrong = Fault::Field(field);
        self.sheet.seen.add(place);
        match (kind, value) {
            (Kind::Object, Value::Object) | (Kind::Array, Value::Array) => self.open(place),
            (Kind::Object | Kind::Array, Value::End) => return self.close(place),
            (Kind::Number, Value::Number(number)) => {
                return self.number(place, u32::try_from(number).map_err(|_| wrong)?);
            }
            (Kind::Positive, Value::Number(number)) if number > 0 => {
                return self.number(place, u32::try_from(number).map_err(|_| wrong)?);
            }
            (Kind::Date, Value::Text(text)) => *self.date(place) = time::parse(text).ok_or(wrong)?,
            (Kind::Hash, Value::Text(text)) => hex_exact(text, self.hash(place)).ok_or(wrong)?,
            (Kind::Bool, Value::True | Value::False) => *self.truth(place) = value == Value::True,
            (Kind::Text | Kind::AnyText | Kind::Any, Value::Text(text)) => return self.text(place, text),
            (Kind::AnyText, Value::LongText) => return self.text(place, b""),
            (Kind::Any, _) => {}
            (_, Value::LongText) => return Err(Fault::Limit(Bound::Text)),
            _ => return Err(wrong),
        }
        Ok(())
    }
}

impl Reading<'_, '_, '_> {
    /// An object or array begins.
    fn open(&mut self, place: Place) {
        let Sheet { seen, names, delegations, targets, .. } = &mut *self.sheet;
        let (from, to) = match place {
            Place::MetaEntry => (Place::MetaHashes, Place::MetaVersion),
            Place::Target => (Place::Hashes, Place::Length),
            Place::Candidate => {
                if !targets.entry.taken {
                    targets.entry.candidate.rollout = None;
                }
                (Place::Counter, Place::VersionText)
            }
            Place::Signature => (Place::SignatureKeyId, Place::SignatureText),
            Place::DelegatedRole | Place::Succinct => return delegations.open(place, names.len()),
            _ => return,
        };
        seen.remove(from, to);
    }

    /// It ends.
    fn close(&mut self, place: Place) -> Result<(), Fault> {
        let Reading { sheet, context, kept } = self;
        match place {
            // Its text comes last, and not without a keyid.
            Place::Signature if !sheet.seen.has(Place::SignatureText) => {
                return Err(Fault::Field(Field::Signatures));
            }
            Place::Key => return sheet.end_of_key(),
            Place::MetaEntry => {
                let version = sheet.meta.end(&sheet.seen)?;
                if let Some(kept) = kept {
                    kept.compare(version);
                }
            }
            Place::Meta => {
                if let Some(kept) = kept {
                    kept.finish();
                }
            }
            Place::Target => return sheet.targets.end(&sheet.seen),
            Place::Candidate => {
                return sheet.targets.end_of_candidate(context.device, context.start, &sheet.seen);
            }
            Place::Rollout => return sheet.targets.entry.end_of_ramp(&sheet.seen),
            Place::DelegatedRole | Place::Succinct => return sheet.delegations.close(&mut sheet.names),
            _ => {}
        }
        Ok(())
    }

    fn number(&mut self, place: Place, number: u32) -> Result<(), Fault> {
        let Sheet { role, header, root, meta, delegations, targets, .. } = &mut *self.sheet;
        let entry = &mut targets.entry;
        let slot = match place {
            Place::Threshold => {
                let by = if *role == Role::Root { root.by() } else { Some(&mut delegations.role) };
                let threshold = u8::try_from(number).map_err(|_| Fault::Field(Field::Threshold))?;
                if let Some(by) = by {
                    by.threshold = threshold;
                }
                return Ok(());
            }
            Place::Sequence => return entry.sequence(number),
            Place::Version => &mut header.version,
            Place::MetaVersion => &mut meta.reading().version,
            Place::MetaLength => &mut meta.reading().length,
            Place::Length => &mut targets.target.length,
            Place::Counter => &mut entry.candidate.counter,
            Place::Minimum => &mut entry.candidate.minimum,
            Place::ImageLength => &mut entry.candidate.image.length,
            Place::Format => &mut entry.format,
            // TAP 15: 1 to 32 bits.
            _ => &mut delegations.bits,
        };
        *slot = number;
        Ok(())
    }

    fn date(&mut self, place: Place) -> &mut u64 {
        let Sheet { header, targets, .. } = &mut *self.sheet;
        match place {
            Place::Expires => &mut header.expires,
            Place::Issued => &mut header.issued,
            Place::RampStart => &mut targets.entry.ramp().start,
            _ => &mut targets.entry.ramp().end,
        }
    }

    fn hash(&mut self, place: Place) -> &mut [u8; 32] {
        let Sheet { meta, targets, .. } = &mut *self.sheet;
        match place {
            Place::MetaSha256 => meta.reading().sha256.insert([0; 32]),
            Place::Sha256 => targets.target.sha256.insert([0; 32]),
            _ => &mut targets.entry.candidate.image.sha256,
        }
    }

    fn truth(&mut self, place: Place) -> &mut bool {
        match place {
            Place::ConsistentSnapshot => &mut self.sheet.root.consistent,
            _ => &mut self.sheet.delegations.terminating,
        }
    }

    fn text(&mut self, place: Place, text: &[u8]) -> Result<(), Fault> {
        let Reading { sheet, context, .. } = self;
        let wrong = Fault::Field(place.field());
        match place {
            // 4.2.1: the role's own type, and the first major version of the specification.
            Place::Type if text != sheet.role.file_type().as_bytes() => return Err(wrong),
            Place::SpecVersion if !text.starts_with(b"1.") => return Err(wrong),
            Place::SignatureKeyId => return sheet.sign(KeyId::from_hex(text).ok_or(wrong)?),
            Place::SignatureText => return sheet.signature(context.limits, text),
            Place::KeyType | Place::Public | Place::Scheme => sheet.key(context.crypto, place, text),
            Place::KeyId => {
                let id = KeyId::from_hex(text).ok_or(wrong)?;
                let Sheet { role, keys, own_keys, root, delegations, .. } = &mut **sheet;
                let keys = Keys(keys.as_slice().get(*own_keys..).unwrap_or_default());
                return if *role == Role::Root {
                    root.key_id(keys, id)
                } else {
                    delegations.key_id(keys, id)
                };
            }
            Place::Halted => return sheet.meta.halt(&hex_array(text).ok_or(wrong)?),
            Place::Name => return push_name(&mut sheet.names, &[text]),
            Place::Prefix => sheet.delegations.matched |= has_prefix(&context.path_sha256, text),
            Place::Pattern => sheet.delegations.matched |= matches(text, sheet.targets.path(context.named)),
            Place::NamePrefix => {
                let Sheet { delegations, names, .. } = &mut **sheet;
                return delegations.bins(names, &context.path_sha256, text);
            }
            Place::ImagePath => return sheet.targets.entry.path(text),
            Place::VersionText => return sheet.targets.entry.version(text),
            Place::Salt => hex_exact(text, &mut sheet.targets.entry.ramp().salt).ok_or(wrong)?,
            #[cfg(feature = "host")]
            Place::MetaSha512 => sheet.meta.reading().sha512 = Some(crate::hash::half(text).ok_or(wrong)?),
            #[cfg(feature = "host")]
            Place::Sha512 => sheet.targets.target.sha512 = Some(hex_array(text).ok_or(wrong)?),
            _ => {}
        }
        Ok(())
    }
}

impl Sheet<'_> {
    /// A signature by this key follows.
    fn sign(&mut self, id: KeyId) -> Result<(), Fault> {
        // 4.2.1: a keyid stands once at most, or one key could be counted twice.
        if self.signatures().iter().any(|other| other.id == id) {
            return Err(Fault::DuplicateSignature);
        }
        self.signer = id;
        Ok(())
    }

    fn signature(&mut self, limits: &Limits, digits: &[u8]) -> Result<(), Fault> {
        if !self.seen.has(Place::SignatureKeyId) {
            return Err(Fault::Field(Field::Signatures));
        }
        let room = self.signatures().iter().count() < limits.signatures;
        // Longer than any that we can verify, or no signature at all: it is there, and never counts.
        let pushed = self.signatures.push_signature(self.signer, digits, limits.signature);
        pushed.filter(|()| room).ok_or(Fault::Limit(Bound::Signatures))
    }

    /// A key of `keys` begins.
    fn begin_key(&mut self, id: &[u8], limits: &Limits, keys_only: bool) -> Result<Place, Fault> {
        let id = KeyId::from_hex(id).ok_or(Fault::Field(Field::Keys))?;
        if keys_only && !self.delegations.wanted.contains(&id) {
            return Ok(Place::Skip);
        }
        let taken = self.own_keys().bit(id).is_some();
        let full = self.keys_held() >= limits.keys || self.keys.push_key_id(id).is_none();
        match (taken, full) {
            (true, _) => Err(Fault::Field(Field::Keys)),
            // For a delegated role the file can be read once more.
            (_, true) if self.role != Role::Root && !keys_only => {
                self.delegations.overflow = true;
                Ok(Place::Skip)
            }
            (_, true) => Err(Fault::Limit(Bound::Keys)),
            (false, false) => {
                (self.algorithm, self.key_length, self.right_scheme) = (Algorithm::Unsupported, None, false);
                Ok(Place::Key)
            }
        }
    }

    fn keys_held(&self) -> usize {
        Keys(self.keys.as_slice()).iter().count()
    }

    fn key(&mut self, crypto: &Crypto, place: Place, text: &[u8]) {
        match place {
            Place::KeyType => {
                let algorithm = Algorithm::named(text);
                if crypto.knows(algorithm) {
                    self.algorithm = algorithm;
                }
            }
            Place::Public => self.key_length = self.keys.decode(self.algorithm, crypto, text),
            _ => self.right_scheme = text == self.algorithm.scheme(),
        }
    }

    fn end_of_key(&mut self) -> Result<(), Fault> {
        if self.right_scheme && self.algorithm != Algorithm::Unsupported {
            // A key of a type that we know must be one.
            let length = self.key_length.ok_or(Fault::Field(Field::Keys))?;
            self.keys.complete_key(self.algorithm, length).ok_or(Fault::Limit(Bound::Keys))?;
        }
        Ok(())
    }
}
