//! What a server says when it does not do what it is asked, in words for a person.

use core::time::Duration;

use object_store::Error::{
    AlreadyExists, NotFound, NotImplemented, NotSupported, PermissionDenied, Precondition, Unauthenticated,
};

/// Characters of a server's own text that are shown: some send whole pages.
const LONGEST: usize = 200;

/// Why something was not done.
#[derive(Debug)]
pub(super) enum Failure {
    /// What the server said, or what kept it from saying anything.
    Server(object_store::Error),
    /// It said nothing for so long.
    Silent(Duration),
}

impl Failure {
    /// Whether the server says that there is no such object. A missing bucket is another matter.
    pub(super) fn is_missing(&self) -> bool {
        match self {
            Failure::Server(error @ NotFound { .. }) => !whole(error).contains("NoSuchBucket"),
            _ => false,
        }
    }

    /// Whether the server took the object, and gave no ETag for it.
    pub(super) fn lacks_e_tag(&self) -> bool {
        matches!(self, Failure::Server(error) if whole(error).contains("ETag Header missing"))
    }

    /// Whether a condition did not hold.
    pub(super) fn is_condition(&self) -> bool {
        matches!(self, Failure::Server(AlreadyExists { .. } | Precondition { .. }))
    }

    /// Whether it was certainly not done, and would not be the next time.
    pub(super) fn is_final(&self) -> bool {
        match self {
            Failure::Server(
                PermissionDenied { .. }
                | Unauthenticated { .. }
                | NotImplemented { .. }
                | NotSupported { .. }
                | NotFound { .. },
            ) => true,
            Failure::Server(_) | Failure::Silent(_) => false,
        }
    }

    /// Why, and what to do next, of the server at `endpoint`.
    pub(super) fn why(&self, endpoint: &str) -> String {
        match self {
            Failure::Silent(patience) => {
                format!("no answer from {endpoint} within {} s; run again", patience.as_secs())
            }
            Failure::Server(error) => explain(error, endpoint),
        }
    }
}

fn explain(error: &object_store::Error, endpoint: &str) -> String {
    let said = whole(error);
    let code = between(&said, "<Code>", "</Code>");
    let answered = code.unwrap_or("no reason given");
    if code == Some("NoSuchBucket") {
        return "there is no such bucket; make it, or correct the address".to_owned();
    }
    if said.contains("Received redirect")
        || matches!(code, Some("PermanentRedirect" | "AuthorizationHeaderMalformed"))
    {
        return format!("the server wants another region or address ({answered}); correct AWS_REGION");
    }
    match error {
        PermissionDenied { .. } | Unauthenticated { .. } => {
            format!(
                "the server refuses the credentials ({answered}); check AWS_ACCESS_KEY_ID, \
             AWS_SECRET_ACCESS_KEY and what they may do"
            )
        }
        _ if code.is_some() => {
            let message = shown(between(&said, "<Message>", "</Message>").unwrap_or_default());
            format!("the server answers {answered}: {message}; look into its log")
        }
        // Where a machine in Amazon's cloud asks for its own.
        _ if ["/latest/api/token", "/latest/meta-data/"].iter().any(|path| said.contains(path)) => {
            "there are no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY".to_owned()
        }
        error => format!(
            "{} (server: {}); check AWS_ENDPOINT_URL, the network and the server",
            one_line(error),
            endpoint
        ),
    }
}

/// All that is known about an error, the innermost last.
fn whole(error: &object_store::Error) -> String {
    let mut said = error.to_string();
    let mut source = core::error::Error::source(error);
    while let Some(error) = source {
        said.push_str(": ");
        said.push_str(&error.to_string());
        source = error.source();
    }
    said
}

/// A text of somebody else, in one line that is not too long.
fn shown(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = text.trim_end_matches(['.', ':', ';']);
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The innermost cause of an error.
pub(super) fn one_line(error: &object_store::Error) -> String {
    let mut innermost: &dyn core::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    shown(&innermost.to_string())
}

fn between<'t>(text: &'t str, start: &str, end: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(start)?;
    Some(rest.split_once(end)?.0)
}
