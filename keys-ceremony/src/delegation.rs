//! Delegations: who signs for a role below targets, for which paths, and the files that say so.

use core::fmt;
use std::collections::VecDeque;
use std::rc::Rc;

use serde_json::Value;
use tuffet_client::limits::{CHAIN, DEVICE, Limits};
use tuffet_client::{Algorithm, DelegatedKey, SOFTWARE, accepts_delegated_file, path_matches};

use crate::encoding::{member, sha256_hex};
use crate::key::PublicKey;
use crate::metadata::Role;
use crate::published::Signers;
use crate::root::{Chain, RoleKeys};
use crate::signed::Signed;
use crate::text::plain;
use crate::{Error, Rejected};

/// What a targets file says of a role that it delegates to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delegation {
    /// Who signs.
    pub signers: RoleKeys,
    /// What the role may speak of.
    pub paths: Paths,
}

/// Target paths that are delegated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Paths {
    /// Those that match one of these patterns.
    Patterns(Vec<String>),
    /// Those whose SHA-256 begins with one of these digits, in hexadecimal.
    Prefixes(Vec<String>),
    /// Those whose SHA-256 begins with the bits of this number (TAP 15).
    Bin {
        /// The number of the bin.
        number: u32,
        /// How many bits: 1 to 32.
        bits: u32,
    },
}

impl Delegation {
    /// What `targets`, the `signed` value of a targets file, says of the role of that name; none if it does not delegate
    /// to it. Keys are read as devices read them: a keyid is a label, and a key that none of them can use counts for
    /// nothing.
    ///
    /// # Errors
    /// [`Rejected::InvalidDelegation`] or [`Rejected::WrongField`].
    pub fn of(targets: &Value, name: &str) -> Result<Option<Delegation>, Error> {
        let Some((written, paths)) = written(targets, name)? else { return Ok(None) };
        let role = || Role::Delegated(name.to_owned());
        let unusable = |why: String| Error::from(Rejected::InvalidDelegation { role: role(), why });
        let signers = Signers::read(&targets["delegations"]["keys"], written);
        let signers = signers.ok_or_else(|| unusable("it has no keyids or no threshold".to_owned()))?;
        let most = signers.distinct(signers.keys.keys()).min(DEVICE.signatures);
        let threshold = u32::try_from(signers.threshold).ok().filter(|threshold| {
            *threshold > 0 && usize::try_from(*threshold).is_ok_and(|threshold| threshold <= most)
        });
        let threshold = threshold.ok_or_else(|| {
            unusable(format!("it has threshold {}, and can reach {most}", signers.threshold))
        })?;
        let keys = signers.keys.into_iter().filter_map(|(keyid, key)| Some((keyid, key?))).collect();
        Ok(Some(Delegation { signers: RoleKeys { keys, threshold }, paths }))
    }
}

/// The entry of a role, of its own or the one that stands for all bins, and its paths. A file that names it twice says
/// nothing of it: devices go by the first of the two that matches a path.
pub(crate) fn written<'t>(targets: &'t Value, name: &str) -> Result<Option<(&'t Value, Paths)>, Error> {
    let delegations = &targets["delegations"];
    let mut listed =
        delegations["roles"].as_array().into_iter().flatten().filter(|role| role["name"] == name);
    let bins = &delegations["succinct_roles"];
    let bin = bin(bins, name);
    let (role, twice) = (listed.next(), listed.next().is_some());
    if twice || (role.is_some() && bin.is_some()) {
        let (role, why) = (Role::Delegated(name.to_owned()), "it is delegated to twice".to_owned());
        return Err(Rejected::InvalidDelegation { role, why }.into());
    }
    if let Some(role) = role {
        let texts = |value: &Value| {
            value.as_array()?.iter().map(|text| text.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
        };
        let (field, paths): (_, fn(Vec<String>) -> Paths) = match role.get("paths") {
            Some(_) => ("paths", Paths::Patterns),
            None => ("path_hash_prefixes", Paths::Prefixes),
        };
        let texts = member(role, field, "a list of texts", texts);
        let texts = texts.map_err(|error| error.at(format!("delegations.{}", plain(name))))?;
        return Ok(Some((role, paths(texts))));
    }
    Ok(bin.map(|paths| (bins, paths)))
}

/// Whether devices with these limits take a file of a delegated role that so many of these keys must sign. Their verifier
/// counts.
pub(crate) fn accept<'k>(
    limits: &Limits,
    keys: impl IntoIterator<Item = (&'k String, &'k PublicKey)>,
    threshold: u64,
    file: &[u8],
) -> Result<(), tuffet_client::Error> {
    let keys = keys.into_iter().map(|(keyid, key)| DelegatedKey {
        keyid,
        algorithm: Algorithm::P256,
        public: key.to_pem(),
    });
    // One that a byte cannot hold is out of reach in any case.
    let threshold = u8::try_from(threshold).unwrap_or(u8::MAX);
    accepts_delegated_file(&SOFTWARE, limits, &mut vec![0; limits.memory()], keys, threshold, file)
}

/// Whether a targets file names each role that it delegates to once, and gives none more keys than devices hold.
///
/// # Errors
/// [`Rejected::InvalidDelegation`].
pub(crate) fn check(targets: &Value, limits: &Limits) -> Result<(), Error> {
    let bins = &targets["delegations"]["succinct_roles"];
    let listed = targets["delegations"]["roles"].as_array().into_iter().flatten();
    for role in listed.chain([bins]) {
        let name = role["name"].as_str().or(role["name_prefix"].as_str()).unwrap_or_default();
        let keys = role["keyids"].as_array().map_or(0, Vec::len);
        if keys > limits.keys {
            let why = format!("it has {keys} keys, and devices hold {}", limits.keys);
            return Err(Rejected::InvalidDelegation { role: Role::Delegated(name.to_owned()), why }.into());
        }
        if let Err(error @ Error::Rejected { why: Rejected::InvalidDelegation { .. }, .. }) =
            written(targets, name)
        {
            return Err(error);
        }
    }
    Ok(())
}

/// The roles of their own that a targets file delegates to, in its order. Bins delegate no further.
pub(crate) fn names(targets: &Value) -> Vec<Role> {
    let roles = targets["delegations"]["roles"].as_array().into_iter().flatten();
    let named = roles.filter_map(|role| Role::named(role["name"].as_str()?));
    named.filter(|role| matches!(role, Role::Delegated(_))).collect()
}

/// The bin of that name, if it is one of these.
fn bin(bins: &Value, name: &str) -> Option<Paths> {
    let bits = u32::try_from(bins["bit_length"].as_u64()?).ok().filter(|bits| (1..=32).contains(bits))?;
    let number = bin_number(bins["name_prefix"].as_str()?, bits, name)?;
    Some(Paths::Bin { number, bits })
}

/// The number of the bin of that name, if it is one of 2^`bits` (1 to 32) with this prefix (TAP 15).
pub fn bin_number(prefix: &str, bits: u32, name: &str) -> Option<u32> {
    let digits = name.strip_prefix(prefix)?.strip_prefix('-')?;
    let lower = digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    let number = u32::from_str_radix(digits, 16).ok()?;
    let is_one = lower && digits.len() == bits.div_ceil(4) as usize && u64::from(number) < 1 << bits;
    is_one.then_some(number)
}

/// The name of the one of 2^`bits` (1 to 32) bins in which a path is: by the first bits of its SHA-256 (TAP 15).
pub fn bin_of(prefix: &str, bits: u32, path: &str) -> String {
    let digits = bits.div_ceil(4) as usize;
    format!("{prefix}-{:0digits$x}", first_bits(path, bits))
}

fn first_bits(path: &str, bits: u32) -> u32 {
    let first = u32::from_str_radix(&sha256_hex(path.as_bytes())[..8], 16).unwrap_or_default();
    first.checked_shr(32 - bits).unwrap_or_default()
}

impl Paths {
    /// Whether a target path is among them.
    pub fn cover(&self, path: &str) -> bool {
        let digest = || sha256_hex(path.as_bytes());
        match self {
            Paths::Patterns(patterns) => patterns.iter().any(|pattern| path_matches(pattern, path)),
            Paths::Prefixes(prefixes) => prefixes.iter().any(|prefix| digest().starts_with(prefix)),
            Paths::Bin { number, bits } => first_bits(path, *bits) == *number,
        }
    }
}

/// In words: "paths lamp/*/*/release, lamp/*/versions/*/*".
impl fmt::Display for Paths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |texts: &[String]| texts.iter().map(|text| plain(text)).collect::<Vec<_>>().join(", ");
        match self {
            Paths::Patterns(patterns) => write!(f, "paths {}", list(patterns)),
            Paths::Prefixes(prefixes) => write!(f, "paths whose SHA-256 begins with {}", list(prefixes)),
            Paths::Bin { number, bits } => write!(f, "paths of bin {number:x} of 2^{bits}"),
        }
    }
}

/// The targets files that lead to a delegated role, each verified: the top-level one, and below it those of roles that
/// the one before delegates to. There may be several to roles of one name, which other holders sign for.
#[derive(Clone, Debug)]
pub struct Way {
    steps: Vec<Rc<Step>>,
}

/// Verified files that a search for ways looks at, at the most. A device visits eight roles in a search of its own; this
/// keeps a file that delegates to everybody from costing hours.
const LOOKED_AT: usize = 1000;

/// One file of a [`Way`].
#[derive(Clone, Debug)]
pub struct Step {
    /// Whose it is: [`Role::Targets`] or a delegated role.
    pub role: Role,
    /// Its version.
    pub version: u32,
    /// The file as it came.
    pub file: Vec<u8>,
    /// What of it is signed.
    pub signed: Signed,
}

impl Way {
    /// Verifies files in the order from the top down; the root at the end of the chain says who signs the first.
    ///
    /// # Errors
    /// [`Rejected::BrokenWay`], [`Rejected::NotDelegated`], or what is wrong with a file in itself.
    pub fn verify<'f>(
        chain: &Chain,
        files: impl IntoIterator<Item = (&'f Role, &'f [u8])>,
    ) -> Result<Way, Error> {
        let mut way = Way { steps: Vec::new() };
        for (role, file) in files {
            way.push(chain, role, file)?;
        }
        Ok(way)
    }

    /// Finds the ways to a role, eight at the most, among files that `file_of` gives, by the roles from the top down to
    /// the one whose file it is: the shorter ones first, so that a role with very many below it hides none beside it.
    ///
    /// # Errors
    /// [`Rejected::NotDelegated`] if there is none; if a file was not verified on the way, what is wrong with it.
    pub fn all(
        chain: &Chain,
        name: &str,
        mut file_of: impl FnMut(&[Role]) -> Result<Option<Vec<u8>>, Error>,
    ) -> Result<Vec<Way>, Error> {
        let role = || Role::Delegated(name.to_owned());
        let nowhere = |by: &str| Error::from(Rejected::NotDelegated { role: role(), by: by.to_owned() });
        let (mut found, mut broken, mut last) = (Vec::new(), None, "no targets file".to_owned());
        // The way so far, and the role whose file comes next.
        let mut open = VecDeque::from([(Way { steps: Vec::new() }, Role::Targets)]);
        let mut looked_at = 0;
        while let Some((mut way, next)) = open.pop_front() {
            // More than a device would try.
            if found.len() >= DEVICE.roles {
                break;
            }
            let roles: Vec<Role> = way.roles().chain([&next]).cloned().collect();
            let Some(file) = file_of(&roles)? else { continue };
            looked_at += 1;
            if looked_at > LOOKED_AT {
                let why = format!("the search for it came by more than {LOOKED_AT} files");
                broken = Some(Rejected::InvalidDelegation { role: role(), why }.into());
                break;
            }
            if let Err(error) = way.push(chain, &next, &file) {
                broken = Some(error);
                continue;
            }
            if next == Role::Targets {
                last = way.title();
            }
            match way.delegation(name) {
                Ok(_) => found.push(way.clone()),
                Err(Error::Rejected { why: Rejected::NotDelegated { .. }, .. }) => {}
                Err(error) => broken = Some(error),
            }
            if way.steps.len() + 1 < CHAIN {
                let below = way.steps.last().map_or_else(Vec::new, |last| names(last.signed.head()));
                let below = below.into_iter().filter(|role| role.name() != name && !roles.contains(role));
                open.extend(below.map(|role| (way.clone(), role)));
            }
        }
        match (found.is_empty(), broken) {
            (false, _) => Ok(found),
            (true, Some(error)) => Err(error),
            (true, None) => Err(nowhere(&last)),
        }
    }

    /// The roles of its files, from the top down.
    pub fn roles(&self) -> impl Iterator<Item = &Role> {
        self.steps.iter().map(|step| &step.role)
    }

    fn push(&mut self, chain: &Chain, role: &Role, file: &[u8]) -> Result<(), Error> {
        let broken = |why: String| Error::from(Rejected::BrokenWay { role: role.clone(), why });
        let signed = Signed::of_file(file).map_err(|error| error.at(role))?;
        let header = signed.header();
        if header.role != Role::Targets {
            return Err(broken(format!("it is a file of {}", header.role)));
        }
        if self.steps.len() + 1 >= CHAIN {
            return Err(broken(format!("devices follow {} delegations below each other", CHAIN - 1)));
        }
        match (&self.steps[..], role) {
            ([], Role::Targets) => {
                chain.accepts(role, file).map_err(|refusal| broken(refusal.to_string()))?
            }
            ([_, ..], Role::Delegated(name)) => {
                self.accepts(name, file)?.map_err(|refusal| broken(refusal.to_string()))?;
            }
            _ => return Err(broken("the top-level targets file comes first, and once".to_owned())),
        }
        let (role, version, file) = (role.clone(), header.version, file.to_vec());
        self.steps.push(Rc::new(Step { role, version, file, signed }));
        Ok(())
    }

    /// Whether devices take `file` for that of a role to which the last of these files delegates. Their verifier counts
    /// the signatures. Dates are not judged.
    ///
    /// # Errors
    /// As [`Way::delegation`]; within, what the verifier says.
    pub fn accepts(&self, name: &str, file: &[u8]) -> Result<Result<(), tuffet_client::Error>, Error> {
        self.accepts_within(&DEVICE, name, file)
    }

    /// The same for devices with other limits.
    ///
    /// # Errors
    /// As [`Way::accepts`].
    pub fn accepts_within(
        &self,
        limits: &Limits,
        name: &str,
        file: &[u8],
    ) -> Result<Result<(), tuffet_client::Error>, Error> {
        let RoleKeys { keys, threshold } = self.delegation(name)?.signers;
        Ok(accept(limits, &keys, threshold.into(), file))
    }

    /// What the last of these files says of a role.
    ///
    /// # Errors
    /// [`Rejected::NotDelegated`], and as [`Delegation::of`].
    pub fn delegation(&self, name: &str) -> Result<Delegation, Error> {
        let found = self.steps.last().map_or(Ok(None), |last| Delegation::of(last.signed.head(), name))?;
        found.ok_or_else(|| {
            Rejected::NotDelegated { role: Role::Delegated(name.to_owned()), by: self.title() }.into()
        })
    }

    /// The delegations from the top down to that of a role: it may speak of the paths that all of them cover.
    ///
    /// # Errors
    /// As [`Way::delegation`].
    pub fn delegations(&self, name: &str) -> Result<Vec<Delegation>, Error> {
        let below = self.steps.iter().skip(1).map(|step| step.role.name()).chain([name]);
        let found = self.steps.iter().zip(below).map(|(step, name)| Delegation::of(step.signed.head(), name));
        Ok(found.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }

    /// The files, from the top down.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().map(Rc::as_ref)
    }

    /// The last file's role and version, as "targets 7".
    pub fn title(&self) -> String {
        self.steps
            .last()
            .map_or_else(|| "nobody".to_owned(), |step| format!("{} {}", step.role, step.version))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::key::SigningKey;
    use crate::metadata::Envelope;
    use crate::request::Request;
    use crate::root::Draft;

    /// 2026-11-22T13:14:15Z.
    const NOW: u64 = 1_795_353_255;

    /// Everybody who signs for anything, and the root.
    struct House {
        keys: Vec<SigningKey>,
        chain: Chain,
    }

    impl House {
        /// Key 0 signs for the top-level roles; the others are for delegated ones.
        fn new() -> House {
            let keys: Vec<SigningKey> = (0..4).map(|_| SigningKey::generate().unwrap()).collect();
            let mut draft = Draft::new(NOW, NOW + 365 * 86_400);
            for role in Role::TOP_LEVEL {
                draft.add_key(&role, keys[0].public()).unwrap();
            }
            let mut request = Request::draft(Role::Root, &draft.signed().unwrap(), &[]).unwrap();
            request.sign(&keys[0]).unwrap();
            let chain = Chain::verify(&[request.finish(NOW).unwrap()]).unwrap();
            House { keys, chain }
        }

        fn keyid(&self, index: usize) -> String {
            self.keys[index].public().keyid().to_owned()
        }

        /// Targets metadata that delegate to these roles: name, keys, threshold, paths.
        fn targets(&self, roles: &[(&str, &[usize], u32, &str)]) -> Value {
            let mut keys = json!({});
            let roles: Vec<Value> = roles
                .iter()
                .map(|(name, signers, threshold, paths)| {
                    let mut keyids: Vec<String> = signers.iter().map(|index| self.keyid(*index)).collect();
                    keyids.sort();
                    signers.iter().for_each(|index| keys[self.keyid(*index)] = self.keys[*index].public().to_value());
                    json!({ "keyids": keyids, "name": name, "paths": [paths], "terminating": true, "threshold": threshold })
                })
                .collect();
            json!({
                "_type": "targets", "delegations": { "keys": keys, "roles": roles },
                "expires": "2027-11-22T13:14:15Z", "issued": "2026-11-22T13:14:15Z",
                "spec_version": "1.0.34", "targets": {}, "version": 7,
            })
        }

        fn file(&self, signed: &Value, signers: &[usize]) -> Vec<u8> {
            let payload = crate::canonical::signed_bytes(signed).unwrap();
            let signatures =
                signers.iter().map(|index| (self.keyid(*index), self.keys[*index].sign(&payload).unwrap()));
            Envelope { signed: signed.clone(), signatures: signatures.collect() }.to_bytes().unwrap()
        }
    }

    fn named(name: &str) -> Role {
        Role::Delegated(name.to_owned())
    }

    fn rejected<T: fmt::Debug>(result: Result<T, Error>) -> Rejected {
        match result {
            Err(Error::Rejected { why, .. }) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn way_is_found_through_every_level_and_each_file_is_verified() {
        let house = House::new();
        let top = house.targets(&[("door", &[3], 1, "door/*"), ("lamp", &[1, 2], 2, "lamp/*/*")]);
        let below = house.targets(&[("lamp/rev-a", &[3], 1, "lamp/rev-a/*")]);
        let files = [(Role::Targets, house.file(&top, &[0])), (named("lamp"), house.file(&below, &[1, 2]))];
        let lookup = |files: &[(Role, Vec<u8>)], way: &[Role]| {
            Ok(files.iter().find(|(other, _)| Some(other) == way.last()).map(|(_, file)| file.clone()))
        };
        let ways = Way::all(&house.chain, "lamp/rev-a", |way| lookup(&files, way)).unwrap();
        let [way] = &ways[..] else { panic!("{ways:?}") };
        let names: Vec<&str> = way.steps().map(|step| step.role.name()).collect();
        assert_eq!((&names[..], &*way.title()), (&["targets", "lamp"][..], "lamp 7"));
        let paths: Vec<String> =
            way.delegations("lamp/rev-a").unwrap().iter().map(|it| it.paths.to_string()).collect();
        assert_eq!(paths, ["paths lamp/*/*", "paths lamp/rev-a/*"]);

        // One signature too few, nowhere on the way, or a file in the place of another: by name.
        let unsigned = [files[0].clone(), (named("lamp"), house.file(&below, &[1]))];
        let error = rejected(Way::all(&house.chain, "lamp/rev-a", |way| lookup(&unsigned, way)));
        assert!(
            matches!(&error, Rejected::BrokenWay { role, why } if *role == named("lamp") && why.contains("1 of 2")),
            "{error:?}"
        );
        let error = rejected(Way::all(&house.chain, "window", |way| lookup(&files, way)));
        assert_eq!(error, Rejected::NotDelegated { role: named("window"), by: "targets 7".to_owned() });
        let given = |files: &[(Role, Vec<u8>)]| {
            Way::verify(&house.chain, files.iter().map(|(role, file)| (role, &file[..])))
        };
        given(&files).unwrap();
        let forged = [(Role::Targets, house.file(&top, &[1]))];
        assert!(matches!(rejected(given(&forged)), Rejected::BrokenWay { role: Role::Targets, .. }));
        let swapped = [files[1].clone(), files[0].clone()];
        assert!(
            matches!(rejected(given(&swapped)), Rejected::BrokenWay { role, .. } if role == named("lamp"))
        );
        let other = [files[0].clone(), (named("door"), files[1].1.clone())];
        assert!(matches!(rejected(given(&other)), Rejected::BrokenWay { role, .. } if role == named("door")));
    }

    #[test]
    fn way_is_no_longer_than_devices_follow() {
        let house = House::new();
        // Each delegates to the next: targets, a, b, c, d, e.
        let names = ["a", "b", "c", "d", "e"];
        let files: Vec<(Role, Vec<u8>)> = [Role::Targets]
            .into_iter()
            .chain(names.map(named))
            .zip(names)
            .map(|(role, next)| {
                let signer = if role == Role::Targets { 0 } else { 1 };
                (role, house.file(&house.targets(&[(next, &[1], 1, "*")]), &[signer]))
            })
            .collect();
        let given = |count: usize| {
            Way::verify(&house.chain, files[..count].iter().map(|(role, file)| (role, &file[..])))
        };
        assert_eq!(given(4).unwrap().delegation("d").unwrap().signers.threshold, 1);
        let error = rejected(given(5));
        assert!(
            matches!(&error, Rejected::BrokenWay { role, why } if *role == named("d") && why.contains("4")),
            "{error:?}"
        );
    }

    #[test]
    fn delegation_that_nothing_can_be_signed_under_is_refused() {
        let house = House::new();
        let good = house.targets(&[("lamp", &[1, 2], 2, "lamp/*")]);
        let keyid = house.keyid(1);
        assert_eq!(Delegation::of(&good, "lamp").unwrap().unwrap().signers.keys.len(), 2);
        assert_eq!(Delegation::of(&good, "lam").unwrap(), None);
        let changed = |change: &dyn Fn(&mut Value)| {
            let mut changed = good.clone();
            change(&mut changed["delegations"]);
            assert_ne!(changed, good);
            rejected(Delegation::of(&changed, "lamp"))
        };
        let unusable = |error: Rejected| {
            assert!(
                matches!(&error, Rejected::InvalidDelegation { role, .. } if *role == named("lamp")),
                "{error:?}"
            );
        };
        unusable(changed(&|it| it["roles"][0]["threshold"] = json!(0)));
        unusable(changed(&|it| it["roles"][0]["threshold"] = json!(3)));
        // A key that is not there, is of no use, or is there twice, counts for nothing or once.
        unusable(changed(&|it| drop(it["keys"].as_object_mut().unwrap().remove(&keyid))));
        unusable(changed(&|it| it["keys"][&keyid]["keytype"] = json!("ed25519")));
        let other = house.keys[2].public().to_value();
        unusable(changed(&|it| it["keys"][&keyid] = other.clone()));
        unusable(changed(&|it| {
            let again = it["roles"][0].clone();
            it["roles"].as_array_mut().unwrap().push(again);
        }));
        let field = |error| matches!(error, Rejected::WrongField { .. });
        assert!(field(changed(&|it| it["roles"][0]["paths"] = json!("lamp/*"))));
        assert!(field(changed(&|it| drop(it["roles"][0].as_object_mut().unwrap().remove("paths")))));
        // A keyid is a label: another key under it is that key.
        let mut labelled = good.clone();
        labelled["delegations"]["keys"][&keyid] = house.keys[3].public().to_value();
        let signers = Delegation::of(&labelled, "lamp").unwrap().unwrap().signers;
        assert_eq!(signers.keys[&keyid], *house.keys[3].public());
    }

    /// The number of a bin is the client's affair; here its name must agree with it. `lamp/rev-a/stable/release` is in
    /// bin 34a of 1024, as docs/format.md says.
    #[test]
    fn bin_has_one_name_and_covers_its_paths() {
        let house = House::new();
        let mut targets = house.targets(&[("lamp", &[1], 1, "*")]);
        let role = targets["delegations"]["roles"][0].clone();
        targets["delegations"].as_object_mut().unwrap().remove("roles");
        targets["delegations"]["succinct_roles"] = json!({
            "bit_length": 10, "keyids": role["keyids"], "name_prefix": "bin", "threshold": 1,
        });
        let paths = |name: &str| Delegation::of(&targets, name).unwrap().map(|it| it.paths);
        assert_eq!(paths("bin-34a"), Some(Paths::Bin { number: 0x34a, bits: 10 }));
        assert!(paths("bin-34a").unwrap().cover("lamp/rev-a/stable/release"));
        assert!(!paths("bin-34b").unwrap().cover("lamp/rev-a/stable/release"));
        for name in ["bin-400", "bin-34A", "bin-0034a", "bin-34", "bin-", "bin34a", "bin", "lamp", "bin-+4a"]
        {
            assert_eq!(paths(name), None, "{name}");
        }
    }
}
