//! Where a key is, as people name it: a file, an environment variable, or a key on a token (RFC 7512).

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use crate::{Error, Misuse};

/// The place of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyUri {
    /// `file:PATH`, or a path as it stands: a PEM file.
    File(PathBuf),
    /// `env:NAME`: an environment variable that holds what such a file would.
    Variable(String),
    /// `pkcs11:...`: a key on a token.
    Token(TokenUri),
}

impl KeyUri {
    /// Reads what a person wrote. What begins with none of the three schemes is a path; one that does not want
    /// to be taken for a URI is written `./env:x`.
    ///
    /// # Errors
    /// [`Misuse::BadKeyUri`], or [`Misuse::PinInUri`], which does not repeat the URI.
    pub fn parse(text: &OsStr) -> Result<KeyUri, Error> {
        let parts = text.to_str().and_then(|text| text.split_once(':'));
        if text.to_string_lossy().to_ascii_lowercase().starts_with("pkcs11;") {
            return Err(bad("the URI of a key on a token begins with `pkcs11:`"));
        }
        let Some((scheme, rest)) = parts else { return Ok(KeyUri::File(text.into())) };
        let parsed = match scheme.to_ascii_lowercase().as_str() {
            "file" => file(rest).map(KeyUri::File),
            "env" if rest.is_empty() || rest.contains(['=', '\0']) => {
                Err(bad("`env:` needs a variable's name"))
            }
            "env" => Ok(KeyUri::Variable(rest.to_owned())),
            "pkcs11" => TokenUri::parse(rest).map(KeyUri::Token),
            _ => Ok(KeyUri::File(text.into())),
        };
        parsed.map_err(|error| match error {
            // Whoever reads the message, or a log of it, must not read the PIN.
            Error::Misuse { why: Misuse::PinInUri, .. } => error,
            // A PIN that stands where none should is not for a log either.
            other if scheme.eq_ignore_ascii_case("pkcs11") => other.at("pkcs11:"),
            other => other.at(text.display()),
        })
    }

    /// The path, for what can be done to a file alone; `what` is an infinitive.
    ///
    /// # Errors
    /// [`Misuse::NotAFile`].
    pub fn file(&self, what: &'static str) -> Result<&Path, Error> {
        match self {
            KeyUri::File(path) => Ok(path),
            _ => Err(Error::from(Misuse::NotAFile { what }).at(self)),
        }
    }
}

/// A path as it was given, `env:NAME`, or the URI without what it says about module and PIN.
impl fmt::Display for KeyUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyUri::File(path) => path.display().fmt(f),
            KeyUri::Variable(name) => write!(f, "env:{name}"),
            KeyUri::Token(uri) => uri.fmt(f),
        }
    }
}

/// What a `pkcs11:` URI asks for. An attribute that is not there matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenUri {
    /// `token`: the token's label.
    pub token: Option<String>,
    /// `serial`: the token's serial number.
    pub serial: Option<String>,
    /// `model`: the token's model.
    pub model: Option<String>,
    /// `manufacturer`: who made the token.
    pub manufacturer: Option<String>,
    /// `slot-id`: where the token is plugged in.
    pub slot: Option<u64>,
    /// `object`: the key's label, CKA_LABEL.
    pub object: Option<Vec<u8>>,
    /// `id`: the key's id, CKA_ID.
    pub id: Option<Vec<u8>>,
    /// `type=public`: the public half alone is meant.
    pub public: bool,
    /// `module-path`: the library that speaks to the token.
    pub module: Option<PathBuf>,
    /// `pin-source`: a file whose first line is the PIN.
    pub pin_source: Option<PathBuf>,
}

impl TokenUri {
    /// Reads what follows `pkcs11:`. Refused, never passed over, is what would narrow the choice and is not
    /// understood: the wrong key could be the one that is left.
    fn parse(text: &str) -> Result<TokenUri, Error> {
        // Before anything else, for other errors repeat the URI. Some people write it among the path's attributes,
        // where it is as visible.
        if text.split([';', '?', '&']).any(names_a_pin) {
            return Err(Misuse::PinInUri.into());
        }
        let (path, query) = text.split_once('?').unwrap_or((text, ""));
        let mut uri = TokenUri::default();
        let mut seen: Vec<&str> = Vec::new();
        for attribute in path.split(';').filter(|part| !part.is_empty()) {
            let (name, value) = pair(attribute, &mut seen)?;
            match name {
                "token" => uri.token = Some(words(value)?),
                "serial" => uri.serial = Some(words(value)?),
                "model" => uri.model = Some(words(value)?),
                "manufacturer" => uri.manufacturer = Some(words(value)?),
                "slot-id" => {
                    let number = value.parse().map_err(|_| bad("`slot-id` is a decimal number"))?;
                    uri.slot = Some(number);
                }
                "object" => uri.object = Some(decoded(value)?),
                "id" => uri.id = Some(decoded(value)?),
                "type" => match value {
                    "private" => {}
                    "public" => uri.public = true,
                    _ => return Err(bad("`type` is private or public here: nothing else signs")),
                },
                other => return Err(bad(format!("the attribute `{other}` is not supported; leave it out"))),
            }
        }
        for attribute in query.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = pair(attribute, &mut seen)?;
            match name {
                "pin-source" => uri.pin_source = Some(pin_source(value)?),
                "module-path" => uri.module = Some(path_of(decoded(value)?)),
                other => return Err(bad(format!("the attribute `{other}` is not supported; leave it out"))),
            }
        }
        Ok(uri)
    }
}

/// The attributes that name token and key. Each byte that RFC 3986 does not call unreserved is encoded, so the
/// text can be pasted into a shell between quotes.
impl fmt::Display for TokenUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("pkcs11:")?;
        let mut separator = "";
        let mut put = |name: &str, value: String| {
            write!(f, "{separator}{name}={value}")?;
            separator = ";";
            Ok::<(), fmt::Error>(())
        };
        for (name, value) in [
            ("token", &self.token),
            ("serial", &self.serial),
            ("model", &self.model),
            ("manufacturer", &self.manufacturer),
        ] {
            if let Some(value) = value {
                put(name, encoded(value.as_bytes()))?;
            }
        }
        if let Some(slot) = self.slot {
            put("slot-id", slot.to_string())?;
        }
        if let Some(object) = &self.object {
            put("object", encoded(object))?;
        }
        if let Some(id) = &self.id {
            put("id", id.iter().map(|byte| format!("%{byte:02x}")).collect())?;
        }
        if self.public {
            put("type", "public".to_owned())?;
        }
        Ok(())
    }
}

/// The path of a `file:` URI (RFC 8089): `file:a.pem`, `file:/dir/a.pem` or `file:///dir/a.pem`.
fn file(rest: &str) -> Result<PathBuf, Error> {
    let path = match rest.strip_prefix("//") {
        None => rest,
        Some(rest) => {
            let path = rest.strip_prefix("localhost").unwrap_or(rest);
            if !path.starts_with('/') {
                return Err(bad("`file://` names another machine; write `file:PATH`"));
            }
            path
        }
    };
    if path.is_empty() {
        return Err(bad("`file:` needs a path"));
    }
    Ok(path_of(decoded(path)?))
}

/// RFC 7512 lets `pin-source` be a command, too, which a URI that came by mail should not run.
fn pin_source(value: &str) -> Result<PathBuf, Error> {
    match value.strip_prefix("file:") {
        Some(rest) => file(rest),
        None if value.starts_with('/') => Ok(path_of(decoded(value)?)),
        None => Err(bad("`pin-source` is `file:PATH` here, and no command")),
    }
}

/// Whether an attribute looks as if it held a PIN, however it is spelled.
fn names_a_pin(attribute: &str) -> bool {
    let name = attribute.split('=').next().unwrap_or_default().to_ascii_lowercase();
    let name = name.replace("%2d", "-");
    name.trim().starts_with("pin") && attribute.split('=').next() != Some("pin-source")
}

fn pair<'t>(attribute: &'t str, seen: &mut Vec<&'t str>) -> Result<(&'t str, &'t str), Error> {
    let (name, value) =
        attribute.split_once('=').ok_or_else(|| bad("each attribute is written `name=value`"))?;
    if seen.contains(&name) {
        return Err(bad(format!("`{name}` stands there twice")));
    }
    seen.push(name);
    Ok((name, value))
}

fn words(value: &str) -> Result<String, Error> {
    String::from_utf8(decoded(value)?).map_err(|_| bad("a name that is not UTF-8"))
}

/// Undoes percent-encoding (RFC 3986, 2.1).
fn decoded(text: &str) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut parts = text.split('%');
    bytes.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        let digits = part.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.ok_or_else(|| bad("`%` is followed by two hexadecimal digits; itself it is `%25`"))?);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    Ok(bytes)
}

fn encoded(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(byte))
            }
            _ => text += &format!("%{byte:02X}"),
        }
    }
    text
}

fn path_of(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes))
}

fn bad(why: impl Into<String>) -> Error {
    Misuse::BadKeyUri { why: why.into() }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<KeyUri, Error> {
        KeyUri::parse(OsStr::new(text))
    }

    fn token(text: &str) -> TokenUri {
        match parse(text).unwrap() {
            KeyUri::Token(uri) => uri,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn uri_of_a_file_is_its_path_however_it_is_written() {
        for (text, path) in [
            ("a.pem", "a.pem"),
            ("dir/100%.pem", "dir/100%.pem"),
            ("odd:name.pem", "odd:name.pem"),
            ("./env:x", "./env:x"),
            ("file:a.pem", "a.pem"),
            ("file:/keys/a%20b.pem", "/keys/a b.pem"),
            ("file:///keys/a.pem", "/keys/a.pem"),
            ("FILE://localhost/keys/a.pem", "/keys/a.pem"),
        ] {
            assert_eq!(parse(text).unwrap(), KeyUri::File(path.into()), "{text}");
        }
        assert_eq!(parse("env:KEY").unwrap(), KeyUri::Variable("KEY".to_owned()));
        let odd = OsString::from_vec(b"\xff.pem".to_vec());
        assert_eq!(KeyUri::parse(&odd).unwrap(), KeyUri::File(odd.into()));
    }

    #[test]
    fn uri_of_a_token_is_read_and_written_back() {
        let full = "pkcs11:token=Root%20keys;serial=8d2b%3B;model=v2;manufacturer=Acme;slot-id=7;object=root%2Fb;id=%01%ff";
        let uri = token(&format!("{full};type=private?module-path=/usr/lib/m%2Eso&pin-source=file:/run/pin"));
        assert_eq!(uri.token.as_deref(), Some("Root keys"));
        assert_eq!(uri.serial.as_deref(), Some("8d2b;"));
        assert_eq!(uri.slot, Some(7));
        assert_eq!(uri.object.as_deref(), Some(&b"root/b"[..]));
        assert_eq!(uri.id.as_deref(), Some(&[1, 0xff][..]));
        assert!(!uri.public);
        assert_eq!(uri.module.as_deref(), Some(Path::new("/usr/lib/m.so")));
        assert_eq!(uri.pin_source.as_deref(), Some(Path::new("/run/pin")));
        // Neither module nor PIN source is shown, and what is shown means the same key.
        assert_eq!(uri.to_string(), full);
        assert_eq!(token(&uri.to_string()), TokenUri { module: None, pin_source: None, ..uri });
        assert_eq!(token("pkcs11:"), TokenUri::default());
        assert!(token("pkcs11:object=x;type=public").public);
        assert_eq!(token("pkcs11:object=x?pin-source=/run/pin").pin_source, Some("/run/pin".into()));
    }

    #[test]
    fn uri_with_a_pin_is_refused_without_repeating_it() {
        for text in [
            "pkcs11:token=t;object=o?pin-value=13795",
            "pkcs11:token=t;pin-value=13795",
            "pkcs11:?module-path=/m.so&pin-value=13795",
            "PKCS11:token=%zz;pin-value=13795",
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error, Misuse::PinInUri.into(), "{text}");
            assert!(!error.to_string().contains("13795"), "{error}");
        }
    }

    #[test]
    fn uri_that_is_not_understood_whole_is_refused() {
        for text in [
            "file:",
            "file://server/keys/a.pem",
            "file://localhostile/a.pem",
            "file:a%2.pem",
            "env:",
            "env:A=B",
            "pkcs11:token",
            "pkcs11:token=a;token=b",
            "pkcs11:token=%f",
            "pkcs11:token=%ff",
            "pkcs11:token=%+1",
            "pkcs11:slot-id=0x1",
            "pkcs11:type=cert",
            "pkcs11:x-vendor=1",
            "pkcs11:library-description=x",
            "pkcs11:?module-name=p11-kit",
            "pkcs11:?pin-source=|cat%20pin",
            "pkcs11:?pin-source=pin",
        ] {
            let error = parse(text).unwrap_err();
            assert!(matches!(&error, Error::Misuse { why: Misuse::BadKeyUri { .. }, .. }), "{text}: {error}");
            // A token's URI is not repeated: whatever was mistyped in it may be a PIN.
            let repeated = if text.starts_with("pkcs11:") { "pkcs11:;" } else { text };
            assert!(error.to_string().contains(repeated), "{error}");
        }
    }
}
