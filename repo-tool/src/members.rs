//! The members of a JSON object as text, in the order of their names.
//!
//! A targets file may hold a hundred thousand targets, of which a release touches two. So metadata are cut into the
//! texts of their members, and put together again around those that changed; the rest is copied byte for byte.

use core::fmt;
use core::ops::Range;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members of an object: where name and text of each are in a larger text. The names ascend, as canonical JSON has
/// them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Members {
    pub(crate) text: Arc<String>,
    places: Vec<Place>,
}

/// Bytes of the text: metadata have fewer than 2^32.
#[derive(Clone, Copy, Debug)]
struct Place {
    name: [u32; 2],
    value: [u32; 2],
}

/// Members to be put (with their text) or taken away.
pub(crate) type Edits = BTreeMap<String, Option<String>>;

impl Members {
    /// Cuts the object up that is at `range` of the text.
    pub(crate) fn parse(text: &Arc<String>, range: Range<usize>) -> Result<Members, serde_json::Error> {
        let object = text.get(range).unwrap_or("null");
        let Borrowed(members) = serde_json::from_str(object)?;
        let place = |part: &str| {
            let start = (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
            let bound = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
            [bound(start), bound(start + part.len())]
        };
        let places =
            members.iter().map(|(name, value)| Place { name: place(name), value: place(value.get()) });
        Ok(Members { text: Arc::clone(text), places: places.collect() })
    }

    /// Cuts a text up that is an object.
    pub(crate) fn of(text: impl Into<String>) -> Result<Members, serde_json::Error> {
        let text = Arc::new(text.into());
        let whole = 0..text.len();
        Members::parse(&text, whole)
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
        let kept: usize = self.iter().map(|(name, text)| name.len() + text.len() + 4).sum();
        let mut object = Writer(String::with_capacity(kept + 1024));
        let (mut old, mut new) = (self.iter().peekable(), edits.iter().peekable());
        loop {
            let next_is_old = match (old.peek(), new.peek()) {
                (Some((name, _)), Some((edited, _))) => *name < edited.as_str(),
                (old, _) => old.is_some(),
            };
            if next_is_old {
                old.next().into_iter().for_each(|(name, text)| object.put(name, text));
                continue;
            }
            let Some((name, text)) = new.next() else { break };
            old.next_if(|(other, _)| *other == name);
            text.iter().for_each(|text| object.put(name, text));
        }
        object.end()
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

struct Writer(String);

impl Writer {
    fn put(&mut self, name: &str, text: &str) {
        self.0.push_str(if self.0.is_empty() { "{\"" } else { ",\"" });
        self.0.push_str(name);
        self.0.push_str("\":");
        self.0.push_str(text);
    }

    fn end(mut self) -> String {
        self.0.push_str(if self.0.is_empty() { "{}" } else { "}" });
        self.0
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
}
