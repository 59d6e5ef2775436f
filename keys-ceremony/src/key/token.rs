//! Keys on tokens, by PKCS#11: smart cards, USB tokens, HSMs. The module that speaks to one is its vendor's code.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error as Failure, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use cryptoki::types::RawAuthPin;
use p256::ecdsa::{Signature, VerifyingKey};

use super::{PublicKey, random};
use crate::error::{Tries, plain_io};
use crate::passphrase::{Passphrase, Source};
use crate::uri::TokenUri;
use crate::{Environment, Error, Misuse, Rejected};

/// The variable that names the module when the URI has no `module-path`.
const MODULE_VARIABLE: &str = "TUFFET_PKCS11_MODULE";

/// The curve as CKA_EC_PARAMS writes it: the DER of the object identifier 1.2.840.10045.3.1.7.
const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

/// Bytes of an id that is not given: enough that no two keys of a token have the same by chance.
const ID: usize = 8;

/// A private key that stays on its token. The session is logged in for as long as this lives.
pub(super) struct TokenKey {
    /// A session is for one thread at a time.
    session: Mutex<Session>,
    handle: ObjectHandle,
    name: String,
}

impl TokenKey {
    /// The URI by which it was found.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What the token returns for this SHA-256 digest, high-S or low-S, not verified.
    pub(super) fn sign(&self, digest: &[u8]) -> Result<Signature, Error> {
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        // The mechanism without a hash of its own: every token has it, and some cannot hash.
        let raw = session.sign(&Mechanism::Ecdsa, self.handle, digest);
        let raw = raw.map_err(failed("sign")).map_err(|error| error.at(&self.name))?;
        // PKCS#11 writes r and s one after the other, 32 bytes each.
        Signature::from_slice(&raw).map_err(|_| Error::from(Environment::TokenSignature).at(&self.name))
    }
}

/// Opens the one private key that goes by this URI, and finds its public half.
pub(super) fn open(uri: &TokenUri, source: &mut Source) -> Result<(TokenKey, PublicKey), Error> {
    private_half(uri, source).map_err(|error| error.at(uri))
}

/// The public key that goes by this URI. Tokens show it to everybody as a rule; one that does not asks for its PIN.
pub(super) fn public(uri: &TokenUri, source: &mut Source) -> Result<PublicKey, Error> {
    shown(uri, source).map_err(|error| error.at(uri))
}

/// Whether a person types the PIN.
pub(super) fn asks(uri: &TokenUri, source: &Source) -> Result<bool, Error> {
    // Where it comes from a prompt nobody need look at the token.
    if is_typed(uri, source, false) {
        return Ok(true);
    }
    let token = Token::find(uri, Access::Use).map_err(|error| error.at(uri))?;
    Ok(is_typed(uri, source, token.info.protected_authentication_path()))
}

/// The same for a token that has keys of its own for that, or has not.
fn is_typed(uri: &TokenUri, source: &Source, own_keys: bool) -> bool {
    own_keys || uri.pin_source.is_none() && source.asks_for_pin()
}

/// Makes a pair on the token: the private half never leaves it. Gives the URI that finds it again, too.
pub(super) fn generate(
    uri: &TokenUri,
    source: &mut Source,
) -> Result<(TokenKey, PublicKey, TokenUri), Error> {
    new_pair(uri, source).map_err(|error| error.at(uri))
}

fn private_half(uri: &TokenUri, source: &mut Source) -> Result<(TokenKey, PublicKey), Error> {
    if uri.public {
        let why = "`type=public` names the half that does not sign".to_owned();
        return Err(Misuse::BadKeyUri { why }.into());
    }
    let token = Token::find(uri, Access::Use)?;
    token.log_in(uri, source)?;
    let handle = token.only(ObjectClass::PRIVATE_KEY, uri)?;
    token.refuse_what_cannot_sign(handle)?;
    let public = token.public_half(handle)?;
    Ok((TokenKey { session: Mutex::new(token.session), handle, name: uri.to_string() }, public))
}

fn shown(uri: &TokenUri, source: &mut Source) -> Result<PublicKey, Error> {
    let token = Token::find(uri, Access::Use)?;
    if token.objects(ObjectClass::PUBLIC_KEY, uri)?.is_empty() && !uri.public {
        token.log_in(uri, source)?;
        return token.public_half(token.only(ObjectClass::PRIVATE_KEY, uri)?);
    }
    token.public_key(token.only(ObjectClass::PUBLIC_KEY, uri)?)
}

fn new_pair(uri: &TokenUri, source: &mut Source) -> Result<(TokenKey, PublicKey, TokenUri), Error> {
    let Some(label) = uri.object.clone().filter(|label| !label.is_empty()) else {
        let why = "a new key needs a label: add `object=LABEL`".to_owned();
        return Err(Misuse::BadKeyUri { why }.into());
    };
    let token = Token::find(uri, Access::Change)?;
    token.log_in(uri, source)?;
    let id = match &uri.id {
        Some(id) => id.clone(),
        None => {
            let mut id = vec![0; ID];
            getrandom::fill(&mut id).map_err(random)?;
            id
        }
    };
    for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
        for taken in [Attribute::Label(label.clone()), Attribute::Id(id.clone())] {
            if !token.matching(class, vec![taken])?.is_empty() {
                return Err(Misuse::KeyExists.into());
            }
        }
    }
    let both = [Attribute::Token(true), Attribute::Label(label.clone()), Attribute::Id(id.clone())];
    let public = [Attribute::Private(false), Attribute::Verify(true), Attribute::EcParams(P256.to_vec())];
    let private = [
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
    ];
    let (public, private) = ([&both[..], &public].concat(), [&both[..], &private].concat());
    let pair = token.session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private);
    let (public, handle) = pair.map_err(failed("make a key"))?;
    let public = token.public_key(public)?;
    let found_by = TokenUri {
        token: Some(token.info.label().to_owned()),
        serial: Some(token.info.serial_number().to_owned()),
        object: Some(label),
        id: Some(id),
        ..TokenUri::default()
    };
    let name = found_by.to_string();
    Ok((TokenKey { session: Mutex::new(token.session), handle, name }, public, found_by))
}

/// What a session may do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Use,
    Change,
}

/// A token with a session.
struct Token {
    module: Pkcs11,
    slot: Slot,
    info: TokenInfo,
    session: Session,
}

impl Token {
    /// The one token that goes by this URI.
    fn find(uri: &TokenUri, access: Access) -> Result<Token, Error> {
        let module = module(uri)?;
        let slots = module.get_slots_with_token().map_err(failed("list tokens"))?;
        // A reader with a card that it does not understand is none of our business.
        let known = slots.into_iter().filter_map(|slot| Some((slot, module.get_token_info(slot).ok()?)));
        let present: Vec<(Slot, TokenInfo)> = known.filter(|(_, info)| info.token_initialized()).collect();
        let is_meant = |(slot, info): &&(Slot, TokenInfo)| {
            let fits = |wanted: &Option<String>, has: &str| wanted.as_deref().is_none_or(|it| it == has);
            fits(&uri.token, info.label())
                && fits(&uri.serial, info.serial_number())
                && fits(&uri.model, info.model())
                && fits(&uri.manufacturer, info.manufacturer_id())
                && uri.slot.is_none_or(|wanted| wanted == slot.id())
        };
        let meant: Vec<&(Slot, TokenInfo)> = present.iter().filter(is_meant).collect();
        let (slot, info) = match meant[..] {
            [one] => one.clone(),
            [] => {
                let present = present.iter().map(name_of).collect();
                return Err(Environment::NoToken { present }.into());
            }
            _ => {
                let found = meant.into_iter().map(name_of).collect();
                return Err(Misuse::Ambiguous { what: "tokens", found }.into());
            }
        };
        let session = match access {
            Access::Use => module.open_ro_session(slot),
            Access::Change => module.open_rw_session(slot),
        };
        let session = session.map_err(failed("open a session"))?;
        Ok(Token { module, slot, info, session })
    }

    fn log_in(&self, uri: &TokenUri, source: &mut Source) -> Result<(), Error> {
        let state = self.session.get_session_info().map_err(failed("describe its session"))?.session_state();
        // A log-in holds for the token, whoever of this process asked for it: two keys on it take one PIN.
        if !self.info.login_required() || matches!(state, SessionState::RoUser | SessionState::RwUser) {
            return Ok(());
        }
        if self.info.user_pin_locked() {
            return Err(Rejected::PinLocked.into());
        }
        let attempt = if self.info.protected_authentication_path() {
            // The PIN is typed on the token's own keys.
            self.session.login(UserType::User, None)
        } else {
            let pin = self.pin(uri, source)?;
            // The box is wiped when dropped, and is made of exactly these bytes, so nothing is copied on the way.
            let pin = RawAuthPin::new(Box::new(pin.as_bytes().to_vec()));
            self.session.login_with_raw(UserType::User, &pin)
        };
        match attempt {
            Ok(()) | Err(Failure::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(Failure::Pkcs11(RvError::PinLocked, _)) => Err(Rejected::PinLocked.into()),
            Err(Failure::Pkcs11(RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange, _)) => {
                let now = self.module.get_token_info(self.slot);
                Err(Rejected::WrongPin { left: now.map_or(Tries::Unknown, |info| tries_left(&info)) }.into())
            }
            Err(other) => Err(failed("log in")(other)),
        }
    }

    fn pin(&self, uri: &TokenUri, source: &mut Source) -> Result<Passphrase, Error> {
        let asks = is_typed(uri, source, false);
        let last = self.info.user_pin_final_try();
        // A script that runs each night with an old PIN would lock the token.
        if last && !asks {
            return Err(Rejected::LastTry.into());
        }
        match &uri.pin_source {
            Some(path) => Passphrase::from_file(path),
            None => {
                let label = self.info.label().escape_default();
                let warning = if last { ", which a wrong one locks" } else { "" };
                source.pin(&format!("token {label}{warning}"))
            }
        }
    }

    /// The keys of a class that go by this URI.
    fn objects(&self, class: ObjectClass, uri: &TokenUri) -> Result<Vec<ObjectHandle>, Error> {
        let label = uri.object.clone().map(Attribute::Label);
        let id = uri.id.clone().map(Attribute::Id);
        self.matching(class, label.into_iter().chain(id).collect())
    }

    fn matching(&self, class: ObjectClass, attributes: Vec<Attribute>) -> Result<Vec<ObjectHandle>, Error> {
        let template = [&[Attribute::Class(class), Attribute::Token(true)][..], &attributes].concat();
        self.session.find_objects(&template).map_err(failed("list its keys"))
    }

    /// The one key of a class that goes by this URI.
    fn only(&self, class: ObjectClass, uri: &TokenUri) -> Result<ObjectHandle, Error> {
        let found = self.objects(class, uri)?;
        match found[..] {
            [one] => Ok(one),
            [] => {
                let present = self.matching(class, Vec::new())?;
                Err(Environment::NoKeyOnToken { present: self.names(&present)? }.into())
            }
            _ => Err(Misuse::Ambiguous { what: "keys", found: self.names(&found)? }.into()),
        }
    }

    /// Label and id of each, as parts of a URI.
    fn names(&self, objects: &[ObjectHandle]) -> Result<Vec<String>, Error> {
        let name = |object: &ObjectHandle| {
            let mut uri = TokenUri::default();
            for attribute in self.attributes(*object, &[AttributeType::Label, AttributeType::Id])? {
                match attribute {
                    Attribute::Label(label) => uri.object = Some(label).filter(|label| !label.is_empty()),
                    Attribute::Id(id) => uri.id = Some(id).filter(|id| !id.is_empty()),
                    _ => {}
                }
            }
            Ok(uri.to_string())
        };
        objects.iter().map(name).collect()
    }

    fn attributes(&self, object: ObjectHandle, wanted: &[AttributeType]) -> Result<Vec<Attribute>, Error> {
        self.session.get_attributes(object, wanted).map_err(failed("describe a key"))
    }

    /// Type and curve are looked at before anything is signed, so that the refusal can name them.
    fn refuse_what_cannot_sign(&self, key: ObjectHandle) -> Result<(), Error> {
        let wanted = [AttributeType::KeyType, AttributeType::EcParams, AttributeType::AlwaysAuthenticate];
        for attribute in self.attributes(key, &wanted)? {
            match attribute {
                Attribute::KeyType(KeyType::EC) => {}
                Attribute::KeyType(other) => return Err(other_type(other)),
                Attribute::EcParams(curve) if curve != P256 => return Err(other_curve()),
                // Such a key wants the PIN between the two halves of each signature, where the library that
                // speaks PKCS#11 here lets nobody in.
                Attribute::AlwaysAuthenticate(true) => {
                    return Err(unsupported("one that wants the PIN anew for each signature"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The public key that belongs to a private one: the one with the same id, of several the one with the same
    /// label, too; else what the private one says of itself.
    fn public_half(&self, private: ObjectHandle) -> Result<PublicKey, Error> {
        let marks = self.attributes(private, &[AttributeType::Id, AttributeType::Label])?;
        let marked = |marks: Vec<Attribute>| self.matching(ObjectClass::PUBLIC_KEY, marks);
        let ids: Vec<Attribute> =
            marks.iter().filter(|it| matches!(it, Attribute::Id(id) if !id.is_empty())).cloned().collect();
        let mut found = if ids.is_empty() { Vec::new() } else { marked(ids)? };
        if found.len() != 1 {
            found = marked(marks)?;
        }
        match found[..] {
            [one] => self.public_key(one),
            [] => self.public_key(private),
            _ => Err(Misuse::Ambiguous { what: "public keys", found: self.names(&found)? }.into()),
        }
    }

    /// Decodes CKA_EC_POINT.
    fn public_key(&self, object: ObjectHandle) -> Result<PublicKey, Error> {
        let mut point = None;
        let wanted = [AttributeType::KeyType, AttributeType::EcParams, AttributeType::EcPoint];
        for attribute in self.attributes(object, &wanted)? {
            match attribute {
                Attribute::KeyType(KeyType::EC) => {}
                Attribute::KeyType(other) => return Err(other_type(other)),
                Attribute::EcParams(curve) if curve != P256 => return Err(other_curve()),
                Attribute::EcPoint(bytes) => point = Some(bytes),
                _ => {}
            }
        }
        let Some(point) = point.filter(|point| !point.is_empty()) else {
            return Err(unsupported("the token shows no public key that belongs to it, by the same id"));
        };
        // An OCTET STRING of 65 bytes around the uncompressed point; some tokens leave the two bytes out.
        let bare = match &point[..] {
            [0x04, 0x41, bare @ ..] if bare.len() == 65 => bare,
            bare => bare,
        };
        let point = VerifyingKey::from_sec1_bytes(bare).map_err(|_| unsupported("no point of P-256"))?;
        PublicKey::from_point(point)
    }
}

/// Modules by path. One that was loaded stays until the process ends: some start threads, which would be left
/// without their code.
static MODULES: Mutex<BTreeMap<PathBuf, Pkcs11>> = Mutex::new(BTreeMap::new());

/// The module that the URI or the environment names.
fn module(uri: &TokenUri) -> Result<Pkcs11, Error> {
    let named = || env::var_os(MODULE_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
    let path = uri.module.clone().or_else(named).ok_or(Environment::NoModule)?;
    let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(module) = modules.get(&path) {
        return Ok(module.clone());
    }
    let module = load(&path).map_err(|message| {
        // The loader names the file, too.
        let message = message.replace(&format!("{}: ", path.display()), "");
        Error::from(Environment::Module { message }).in_file(&path)
    })?;
    modules.insert(path, module.clone());
    Ok(module)
}

/// Loads a module, or says why not.
fn load(path: &Path) -> Result<Pkcs11, String> {
    // The loader would look for a bare name in directories that the environment chooses, and for a relative path
    // in this one, which may be on the stick that brought the request.
    if !path.is_absolute() {
        return Err("its path is not absolute".to_owned());
    }
    // The loader's own message for a file that is missing is long.
    path.metadata().map_err(|error| plain_io(&error))?;
    let module = Pkcs11::new(path).map_err(|error| plain(&error))?;
    match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        // Under another path's name, a link's for instance.
        Ok(()) | Err(Failure::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(module),
        Err(error) => Err(plain(&error)),
    }
}

fn tries_left(info: &TokenInfo) -> Tries {
    worst(info.user_pin_locked(), info.user_pin_final_try(), info.user_pin_count_low())
}

/// Tokens set the flags for less with those for more, or without them.
fn worst(locked: bool, one: bool, fewer: bool) -> Tries {
    match (locked, one, fewer) {
        (true, _, _) => Tries::None,
        (_, true, _) => Tries::One,
        (_, _, true) => Tries::Fewer,
        _ => Tries::Unknown,
    }
}

/// Label and serial number of a token, as a URI.
fn name_of((_, info): &(Slot, TokenInfo)) -> String {
    let (token, serial) = (Some(info.label().to_owned()), Some(info.serial_number().to_owned()));
    TokenUri { token, serial, ..TokenUri::default() }.to_string()
}

fn unsupported(what: impl Into<String>) -> Error {
    Rejected::UnsupportedKey { what: what.into() }.into()
}

fn other_type(key_type: KeyType) -> Error {
    unsupported(match key_type {
        KeyType::RSA => "an RSA key on a token".to_owned(),
        KeyType::EC_EDWARDS => "an Edwards curve key, such as Ed25519, on a token".to_owned(),
        other => format!("a key of type {other} on a token"),
    })
}

fn other_curve() -> Error {
    unsupported("an elliptic curve key on a token, of another curve than P-256")
}

/// A failure of the token while doing `what`, an infinitive.
fn failed(what: &'static str) -> impl Fn(Failure) -> Error {
    move |error| Environment::Token { what, message: plain(&error) }.into()
}

/// The module's words on one line. For its return codes the name says more than the specification's prose.
fn plain(error: &Failure) -> String {
    match error {
        Failure::Pkcs11(code, function) => format!("{function:?} returned {code:?}"),
        Failure::LibraryLoading(error) => error.to_string().replace('\n', " "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SoftHSM has no keys of its own, so a token with some is seen here alone.
    #[test]
    fn pin_is_typed_at_a_prompt_or_on_the_keys_of_the_token() {
        let sources: [fn() -> Source; 3] = [
            || Source::from_options(None, None, Some("PIN".to_owned())),
            || Source::from_options(Some(3), None, None),
            || Source::from_options(None, None, None),
        ];
        let uri = TokenUri::default();
        let from_file = TokenUri { pin_source: Some("pin".into()), ..TokenUri::default() };
        // Whoever runs the tests may have the variable set.
        let prompt = std::env::var_os(crate::passphrase::PIN_VARIABLE).is_none();
        for (source, asks) in sources.iter().zip([false, false, prompt]) {
            assert_eq!(is_typed(&uri, &source(), false), asks);
            assert!(!is_typed(&from_file, &source(), false));
            // Such a token takes no PIN from a variable, descriptor or file.
            assert!(is_typed(&uri, &source(), true));
            assert!(is_typed(&from_file, &source(), true));
        }
    }

    /// SoftHSM counts and never locks, so the worse cases are seen here alone.
    #[test]
    fn tries_that_are_left_are_the_fewest_that_any_flag_says() {
        for (flags, left, says) in [
            ((false, false, false), Tries::Unknown, "not often"),
            ((false, false, true), Tries::Fewer, "fewer tries"),
            ((false, true, false), Tries::One, "ONE try is left"),
            ((false, true, true), Tries::One, "the next wrong one locks"),
            ((true, false, false), Tries::None, "it was the last try"),
            ((true, true, true), Tries::None, "the token is locked"),
        ] {
            let (locked, one, fewer) = flags;
            assert_eq!(worst(locked, one, fewer), left, "{flags:?}");
            let message = Error::from(Rejected::WrongPin { left }).to_string();
            assert!(message.contains(says), "{message}");
        }
    }
}
