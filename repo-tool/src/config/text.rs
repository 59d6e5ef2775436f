//! Writing `tuffet.toml`, with comments for whoever edits it.

use core::fmt::Write as _;

use tuffet_keys::Role;

use super::{Config, Delegate, FORMAT, Hardware, Product, Retention, Storage, Term};

impl Config {
    /// The file's text. What is as it would be anyway stands there as a comment.
    pub fn to_text(&self) -> String {
        let mut text = format!(
            "# What tuffet knows about this repository. Keys and thresholds of the top-level roles are not here: the\n\
             # root has them.\n\
             format = {FORMAT}\n\n"
        );
        if let Some(digest) = &self.root_1_sha256 {
            text.push_str(&format!(
                "# SHA-256 of what the keys of root 1 signed, as `tuffet-keys` showed it. It names this repository; a\n\
                 # directory with another root 1 is another repository, and is refused.\n\
                 root-1-sha256 = \"{digest}\"\n\n"
            ));
        }
        for (name, product) in &self.products {
            write_product(&mut text, name, product);
        }
        self.write_terms(&mut text);
        self.write_rest(&mut text);
        text.truncate(text.trim_end().len());
        text.push('\n');
        text
    }

    fn write_terms(&self, text: &mut String) {
        text.push_str(
            "# How long a signature is good for (`30d`, `12 hours`), and how long before the end it is due again.\n\
             # After it devices refuse the file, so that nobody can keep them from news for longer. Unless it says\n\
             # otherwise here, the newest root does. Key holders sign targets; `tuffet refresh` signs the other two.\n",
        );
        for role in [Role::Targets, Role::Snapshot, Role::Timestamp] {
            let (comment, term) = match self.terms.get(&role) {
                Some(term) => ("", term.clone()),
                None => ("# ", self.term(&role, None)),
            };
            let Term { expires, signing } = term;
            text.push_str(&format!(
                "{comment}[roles.{role}]\n{comment}expires = \"{expires}\"\n{comment}signing = \"{signing}\"\n"
            ));
        }
        text.push('\n');
    }

    fn write_rest(&self, text: &mut String) {
        let Storage { url, danger_allow_plain_http } = &self.storage;
        text.push_str(
            "# Where it is published: a directory, seen from here, that any web server serves; or s3://BUCKET/PREFIX,\n\
             # whose endpoint, region and credentials are in the variables AWS_ENDPOINT_URL, AWS_REGION,\n\
             # AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.\n",
        );
        let default = self.storage == Storage::default();
        let comment = if default { "# " } else { "" };
        text.push_str(&format!("{comment}[storage]\n{comment}url = {url:?}\n"));
        if *danger_allow_plain_http {
            text.push_str("danger-allow-plain-http = true\n");
        }
        text.push('\n');

        let Retention { images, grace } = &self.retention;
        text.push_str(
            "# What `tuffet gc` keeps: images that no channel lists any more, and then, for devices that are under way,\n\
             # whatever nothing needs.\n",
        );
        let comment = if self.retention == Retention::default() { "# " } else { "" };
        text.push_str(&format!(
            "{comment}[retention]\n{comment}images = \"{images}\"\n{comment}grace = \"{grace}\"\n\n"
        ));

        text.push_str(
            "# The oldest and smallest device that is out there, where it is smaller than the root's `devices` says:\n\
             # nothing is published that it would refuse.\n",
        );
        let limits = self.devices.to_string();
        let comment = if self.devices == Default::default() { "# " } else { "" };
        text.push_str(&format!("{comment}[devices]\n{comment}schemes = [\"ecdsa-sha2-nistp256\"]\n"));
        for limit in limits.split(", ") {
            if let Some((name, value)) = limit.split_once(' ') {
                text.push_str(&format!("{comment}{name} = {value}\n"));
            }
        }
    }
}

fn write_product(text: &mut String, name: &str, Product { role, channels, hardware }: &Product) {
    text.push_str("# The product, and its channels; with none listed any name is one.\n");
    text.push_str(&format!("[products.{name:?}]\n"));
    match channels.is_empty() {
        true => text.push_str("# channels = [\"stable\", \"beta\"]\n\n"),
        false => text.push_str(&format!("channels = {channels:?}\n\n")),
    }
    write_delegate(text, name, role.as_ref());
    text.push_str(
        "# The kinds of devices. An image larger than slot-size (bytes) is refused before anything is signed;\n\
         # flash-map names the layout that `tuffet provision` writes.\n",
    );
    if hardware.is_empty() {
        text.push_str(&format!("# [products.{name:?}.hardware.\"rev-a\"]\n# slot-size = 262144\n"));
        text.push_str("# flash-map = \"demo\"\n\n");
    }
    for (id, Hardware { slot_size, flash_map }) in hardware {
        text.push_str(&format!("[products.{name:?}.hardware.{id:?}]\nslot-size = {slot_size}\n"));
        if let Some(map) = flash_map {
            text.push_str(&format!("flash-map = {map:?}\n"));
        }
        text.push('\n');
    }
}

fn write_delegate(text: &mut String, product: &str, role: Option<&Delegate>) {
    text.push_str(
        "# Who signs its releases. Without this the holders of targets do. With it they sign once who does, and a key\n\
         # of this product is good for no other. Keys are public ones, in files beside this one; `bins` of 10\n\
         # would spread a very large product over 2^10 files.\n",
    );
    let Some(Delegate { name, keys, threshold, term: Term { expires, signing }, bins }) = role else {
        text.push_str(&format!(
            "# [products.{product:?}.role]\n# keys = [\"keys/{product}-a.pub.pem\", \"keys/{product}-b.pub.pem\"]\n\
             # threshold = 2\n# expires = \"180d\"\n# signing = \"35d\"\n\n"
        ));
        return;
    };
    text.push_str(&format!("[products.{product:?}.role]\n"));
    if name != product {
        text.push_str(&format!("name = {name:?}\n"));
    }
    let files: Vec<_> = keys.iter().map(|path| path.display().to_string()).collect();
    text.push_str(&format!(
        "keys = {files:?}\nthreshold = {threshold}\nexpires = \"{expires}\"\nsigning = \"{signing}\"\n"
    ));
    if let Some(bins) = bins {
        let _ = writeln!(text, "bins = {bins}");
    }
    text.push('\n');
}
