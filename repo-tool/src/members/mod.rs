//! The members of a JSON object as text, in the order of their names.
//!
//! A targets file may hold a hundred thousand targets, of which a release touches two. So metadata are cut into the
//! texts of their members, and put together again around those that changed; the rest is copied byte for byte.

mod reader;

use core::fmt;
use core::ops::Range;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use self::reader::{DEPTH, Reader};

/// The members of an object: where name and text of each are in a larger text. The names ascend, as canonical JSON has
/// them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Members {
    pub(crate) text: Arc<String>,
    places: Arc<Vec<Place>>,
    /// Whether nothing but a comma is between one member and the next.
    dense: bool,
}

/// Bytes of the text: metadata have fewer than 2^32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    name: [u32; 2],
    value: [u32; 2],
}

/// Members to be put (with their text) or taken away.
pub(crate) type Edits = BTreeMap<String, Option<String>>;

/// A metadata file, cut up.
pub(crate) struct Cut {
    /// Where the text of `signatures` is.
    pub(crate) signatures: Range<usize>,
    /// Where that of `signed` is.
    pub(crate) signed: Range<usize>,
    /// The members of `signed`.
    pub(crate) members: Members,
    /// Those of one of them.
    pub(crate) inner: Members,
}

impl Members {
    /// Cuts the object up that is at `range` of the text.
    pub(crate) fn parse(text: &Arc<String>, range: Range<usize>) -> Result<Members, serde_json::Error> {
        if let Some((members, _)) = Reader::whole(text, range.clone(), None) {
            return Ok(members);
        }
        let object = text.get(range).unwrap_or("null");
        let Borrowed(members) = serde_json::from_str(object)?;
        let place = |part: &str| {
            let start = (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
            bounds(&(start..start + part.len()))
        };
        let places =
            members.iter().map(|(name, value)| Place { name: place(name), value: place(value.get()) });
        Ok(Members { text: Arc::clone(text), places: Arc::new(places.collect()), dense: false })
    }

    /// The same, and the object that its member `inner` is, in one pass; none if there is no such object, or something is
    /// not as canonical JSON has it.
    pub(crate) fn parse_two(
        text: &Arc<String>,
        range: Range<usize>,
        inner: &str,
    ) -> Option<(Members, Members)> {
        let (members, inner) = Reader::whole(text, range, Some(inner))?;
        Some((members, inner?))
    }

    /// Cuts a text up that is an object.
    pub(crate) fn of(text: impl Into<String>) -> Result<Members, serde_json::Error> {
        let text = Arc::new(text.into());
        let whole = 0..text.len();
        Members::parse(&text, whole)
    }

    fn new(text: &Arc<String>, places: Vec<Place>) -> Members {
        Members { text: Arc::clone(text), places: Arc::new(places), dense: true }
    }

    /// Where in the text a member is.
    pub(crate) fn place(&self, name: &str) -> Option<Range<usize>> {
        let index = self.places.binary_search_by(|place| self.at(place.name).cmp(name)).ok()?;
        let [start, end] = self.places.get(index)?.value;
        Some(start as usize..end as usize)
    }

    /// The text of a member.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.text.get(self.place(name)?)
    }

    /// All of them, by their names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        self.places.iter().map(|place| (self.at(place.name), self.at(place.value)))
    }

    /// Names from this one on.
    pub(crate) fn from<'s>(&'s self, name: &str) -> impl Iterator<Item = &'s str> + use<'s> {
        let first = self.places.partition_point(|place| self.at(place.name) < name);
        self.places.iter().skip(first).map(|place| self.at(place.name))
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    fn at(&self, [start, end]: [u32; 2]) -> &str {
        self.text.get(start as usize..end as usize).unwrap_or_default()
    }

    /// The text of the object with some members changed. Names and texts of these are canonical.
    pub(crate) fn edited(&self, edits: &Edits) -> String {
        let mut object = Writer::new(self.room());
        self.write(&parts(edits), &mut object);
        object.out
    }

    /// The same, where the member `name` is `inner` with some of its members changed.
    pub(crate) fn edited_with(&self, edits: &Edits, name: &str, inner: &Members, within: &Edits) -> String {
        let mut parts = parts(edits);
        let at = parts.partition_point(|(other, _)| *other < name);
        parts.insert(at, (name, Part::Object(inner, within)));
        let mut object = Writer::new(self.room() + inner.room());
        self.write(&parts, &mut object);
        object.out
    }

    /// Bytes that its text has at the most, with a few changes.
    fn room(&self) -> usize {
        let ends = self.places.first().zip(self.places.last());
        ends.map_or(0, |(first, last)| (last.value[1] - first.name[0]) as usize) + 4096
    }

    /// What is between two changes is copied at once: it is most of a large file.
    fn write(&self, parts: &[(&str, Part<'_>)], object: &mut Writer) {
        object.begin();
        let mut next = 0;
        for (name, part) in parts {
            let at = next + self.places[next..].partition_point(|place| self.at(place.name) < *name);
            self.copy(next..at, object);
            next = at + usize::from(self.places.get(at).is_some_and(|place| self.at(place.name) == *name));
            match part {
                Part::Gone => {}
                Part::Text(text) => object.put(name, text),
                Part::Object(inner, edits) => {
                    object.name(name);
                    inner.write(&self::parts(edits), object);
                }
            }
        }
        self.copy(next..self.places.len(), object);
        object.end();
    }

    fn copy(&self, run: Range<usize>, object: &mut Writer) {
        match self.places.get(run).unwrap_or_default() {
            [first, .., last] if self.dense => {
                // From the quote before the first name on.
                object.comma();
                object.out.push_str(self.at([first.name[0] - 1, last.value[1]]));
            }
            some => some.iter().for_each(|place| object.put(self.at(place.name), self.at(place.value))),
        }
    }

    /// Names of members that are new in `self`, or have another text than in `before`.
    pub(crate) fn changed<'m>(&'m self, before: &'m Members) -> impl Iterator<Item = &'m str> {
        let mut old = before.iter().peekable();
        self.iter().filter_map(move |(name, text)| {
            while old.next_if(|(other, _)| *other < name).is_some() {}
            (old.peek() != Some(&(name, text))).then_some(name)
        })
    }
}

impl Cut {
    /// Cuts a metadata file up in one pass, and in its `signed` the object `inner`; none if it is not as canonical JSON has
    /// it.
    pub(crate) fn of(text: &Arc<String>, inner: &str) -> Option<Cut> {
        let mut reader = Reader { bytes: text.as_bytes(), at: 0 };
        reader.takes_all(b"{\"signatures\":")?;
        let signatures = reader.at..{
            reader.value(DEPTH)?;
            reader.at
        };
        reader.takes_all(b",\"signed\":")?;
        let start = reader.at;
        let (members, inner) = reader.object(Some(inner))?;
        let signed = start..reader.at;
        reader.takes(b'}')?;
        let (members, inner) = (Members::new(text, members), Members::new(text, inner?));
        (reader.at == text.len()).then_some(Cut { signatures, signed, members, inner })
    }
}

/// What becomes of a member.
enum Part<'e> {
    Gone,
    Text(&'e str),
    Object(&'e Members, &'e Edits),
}

fn parts(edits: &Edits) -> Vec<(&str, Part<'_>)> {
    let part = |(name, text)| {
        let (name, text): (&String, &Option<String>) = (name, text);
        (name.as_str(), text.as_deref().map_or(Part::Gone, Part::Text))
    };
    edits.iter().map(part).collect()
}

fn bounds(range: &Range<usize>) -> [u32; 2] {
    let bound = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
    [bound(range.start), bound(range.end)]
}

/// An object as it is written.
struct Writer {
    out: String,
}

impl Writer {
    fn new(room: usize) -> Writer {
        Writer { out: String::with_capacity(room) }
    }

    fn begin(&mut self) {
        self.out.push('{');
    }

    fn comma(&mut self) {
        // No value ends with the bracket that opens an object.
        if !self.out.ends_with('{') {
            self.out.push(',');
        }
    }

    fn name(&mut self, name: &str) {
        self.comma();
        self.out.push('"');
        self.out.push_str(name);
        self.out.push_str("\":");
    }

    fn put(&mut self, name: &str, text: &str) {
        self.name(name);
        self.out.push_str(text);
    }

    fn end(&mut self) {
        self.out.push('}');
    }
}

/// Name and text of each member, as serde lends them.
struct Borrowed<'t>(Vec<(&'t str, &'t RawValue)>);

impl<'de: 't, 't> Deserialize<'de> for Borrowed<'t> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Borrowed<'t>, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Borrowed<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object whose names need no escapes")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Borrowed<'de>, A::Error> {
                let mut members: Vec<(&str, &RawValue)> = Vec::new();
                while let Some((name, text)) = map.next_entry()? {
                    if members.last().is_some_and(|(before, _)| *before >= name) {
                        return Err(A::Error::custom("the members are not in the order of their names"));
                    }
                    members.push((name, text));
                }
                Ok(Borrowed(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edits<const N: usize>(edits: [(&str, Option<&str>); N]) -> Edits {
        edits.into_iter().map(|(name, text)| (name.to_owned(), text.map(str::to_owned))).collect()
    }

    #[test]
    fn edited_members_are_put_in_order_replaced_and_taken_away() {
        let members = Members::of(r#"{"b":{"x":[1,"}"]},"d":2,"f":3}"#).unwrap();
        assert_eq!(members.get("b"), Some(r#"{"x":[1,"}"]}"#));
        assert_eq!(members.get("c"), None);
        assert_eq!(members.edited(&Edits::new()), r#"{"b":{"x":[1,"}"]},"d":2,"f":3}"#);
        let changes = edits([
            ("a", Some("0")),
            ("b", None),
            ("c", None),
            ("d", Some("true")),
            ("e", Some("[]")),
            ("g", Some("\"\"")),
        ]);
        assert_eq!(members.edited(&changes), r#"{"a":0,"d":true,"e":[],"f":3,"g":""}"#);
        assert_eq!(Members::default().edited(&Edits::new()), "{}");
    }

    #[test]
    fn changed_members_are_the_new_and_the_different_ones() {
        let before = Members::of(r#"{"a":1,"b":2,"d":4}"#).unwrap();
        let after = Members::of(r#"{"b":3,"c":3,"d":4,"e":5}"#).unwrap();
        assert_eq!(after.changed(&before).collect::<Vec<_>>(), ["b", "c", "e"]);
        assert_eq!(before.changed(&Members::default()).count(), 3);
    }

    #[test]
    fn members_out_of_order_twice_or_with_escapes_are_refused() {
        for text in [r#"{"b":1,"a":2}"#, r#"{"a":1,"a":2}"#, r#"{"\u0061":1}"#, "[]", "{", r#"{"a":1}x"#] {
            assert!(Members::of(text).is_err(), "{text}");
        }
    }

    /// As serde reads an object.
    fn by_serde(object: &str) -> Option<Vec<(String, String)>> {
        let Borrowed(members) = serde_json::from_str(object).ok()?;
        Some(members.into_iter().map(|(name, value)| (name.to_owned(), value.get().to_owned())).collect())
    }

    fn listed(members: &Members) -> Vec<(String, String)> {
        members.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    const SIGNED: &str = r#"{"_type":"targets","delegations":{"keys":{"k":{"pem":"A\nB\\\"C"}}},"empty":{},"n":[-1,0,{"x":null},[]],"targets":{"a/b":{"hashes":{"sha256":"00"},"length":12},"a/c":{"custom":{"z":[true,false]},"length":0}},"version":3}"#;

    #[test]
    fn text_that_is_read_in_one_pass_is_what_serde_reads_whatever_byte_is_changed() {
        let sample = SIGNED.as_bytes();
        let (mut taken, mut refused) = (0, 0);
        let bytes = b"\"\\{}[]:,-019 aefnt\n";
        let mutants = (0..sample.len()).flat_map(|at| {
            let replaced =
                bytes.iter().map(move |byte| [&sample[..at], &[*byte], &sample[at + 1..]].concat());
            let inserted = bytes.iter().map(move |byte| [&sample[..at], &[*byte], &sample[at..]].concat());
            replaced
                .chain(inserted)
                .chain([[&sample[..at], &sample[at + 1..]].concat(), sample[..at].to_vec()])
        });
        for mutant in mutants.chain([sample.to_vec()]) {
            let text = Arc::new(String::from_utf8(mutant).unwrap());
            let Some((members, targets)) = Members::parse_two(&text, 0..text.len(), "targets") else {
                refused += 1;
                continue;
            };
            taken += 1;
            assert_eq!(Some(listed(&members)), by_serde(&text), "{text}");
            assert_eq!(Some(listed(&targets)), by_serde(members.get("targets").unwrap()), "{text}");
            let file = Arc::new(format!(r#"{{"signatures":[{{"keyid":"a"}}],"signed":{text}}}"#));
            let cut = Cut::of(&file, "targets").unwrap();
            assert_eq!(
                (&file[cut.signatures], &file[cut.signed.clone()]),
                (r#"[{"keyid":"a"}]"#, text.as_str())
            );
            assert_eq!((listed(&cut.members), listed(&cut.inner)), (listed(&members), listed(&targets)));
        }
        assert!(taken > 500 && refused > 5000, "{taken} taken, {refused} refused");
    }

    #[test]
    fn members_that_are_copied_in_runs_are_what_they_are_one_by_one() {
        let text = Arc::new(SIGNED.to_owned());
        let (members, targets) = Members::parse_two(&text, 0..text.len(), "targets").unwrap();
        let sparse = |members: &Members| Members { dense: false, ..members.clone() };
        let names = ["a", "a/b", "a/bb", "a/c", "z"];
        for choice in 0..3_usize.pow(5) {
            let change = |index: usize| match choice / 3_usize.pow(u32::try_from(index).unwrap()) % 3 {
                0 => None,
                1 => Some(None),
                _ => Some(Some("{}".to_owned())),
            };
            let edits: Edits =
                (0..5).filter_map(|index| Some((names[index].to_owned(), change(index)?))).collect();
            let within = targets.edited(&edits);
            assert_eq!(within, sparse(&targets).edited(&edits));
            let outer: Edits =
                [("version".to_owned(), Some("4".to_owned())), ("empty".to_owned(), None)].into();
            let mut with_text = outer.clone();
            with_text.insert("targets".to_owned(), Some(within));
            let expected = sparse(&members).edited(&with_text);
            assert_eq!(members.edited_with(&outer, "targets", &targets, &edits), expected);
        }
        let whole = Members::default().edited_with(&Edits::new(), "meta", &Members::default(), &Edits::new());
        assert_eq!(whole, r#"{"meta":{}}"#);
    }
}
