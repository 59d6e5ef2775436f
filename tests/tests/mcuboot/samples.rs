//! What is read of images that `imgtool` made, one for each option that shows.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use tempfile::TempDir;
use tuffet::image::{self, Kind};
use tuffet::{Error, Rejected};
use tuffet_agent::mcuboot::{Dependency, Fault, Header, Image, Signature, Version, is_image};
use tuffet_client::release::is_version;

use crate::imgtool::{Dump, imgtool};
use crate::{read, read_by, sha256};

/// What was asked of `imgtool`, and must be found.
#[derive(Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) name: &'static str,
    /// Of `imgtool sign`, but for input, output and those that are the same for most, see [`Asked::command`].
    options: &'static str,
    version: &'static str,
    counter: Option<u32>,
    pub(crate) signature: Option<Signature>,
    /// Bits of the flags.
    pub(crate) flags: u32,
    pub(crate) checked: bool,
}

/// An image with nothing special; each case below changes something.
const PLAIN: Asked = Asked {
    name: "plain",
    options: "-v 1.2.3",
    version: "1.2.3",
    counter: None,
    signature: None,
    flags: 0,
    checked: true,
};

const ASKED: [Asked; 27] = [
    PLAIN,
    Asked { name: "short-version", options: "-v 2", version: "2.0.0", ..PLAIN },
    Asked { name: "build", options: "-v 1.2.3+4", version: "1.2.3+4", ..PLAIN },
    Asked {
        name: "largest",
        options: "-v 255.255.65535+4294967295 -s 4294967295",
        version: "255.255.65535+4294967295",
        counter: Some(u32::MAX),
        ..PLAIN
    },
    Asked { name: "counter", options: "-v 1.2.3 -s 7", counter: Some(7), ..PLAIN },
    Asked { name: "counter-zero", options: "-v 1.2.3 -s 0", counter: Some(0), ..PLAIN },
    Asked { name: "counter-auto", options: "-v 1.2.3 -s auto", counter: Some(0x0102_0003), ..PLAIN },
    Asked {
        name: "ecdsa",
        options: "-v 1.2.3+4 -s 7 -k ecdsa-p256.pem -d (1,1.2.3+4)(2,0.1.0)",
        version: "1.2.3+4",
        counter: Some(7),
        signature: Some(Signature::Ecdsa),
        ..PLAIN
    },
    Asked {
        name: "rsa-2048",
        options: "-v 1.2.3 -k rsa-2048.pem",
        signature: Some(Signature::Rsa2048),
        ..PLAIN
    },
    Asked {
        name: "rsa-3072",
        options: "-v 1.2.3 -k rsa-3072.pem",
        signature: Some(Signature::Rsa3072),
        ..PLAIN
    },
    Asked {
        name: "ed25519",
        options: "-v 1.2.3 -k ed25519.pem",
        signature: Some(Signature::Ed25519),
        ..PLAIN
    },
    Asked {
        name: "whole-key",
        options: "-v 1.2.3 -k ecdsa-p256.pem --public-key-format full",
        signature: Some(Signature::Ecdsa),
        ..PLAIN
    },
    Asked { name: "long-header", options: "-v 1.2.3 -H 0x200 --align 8", ..PLAIN },
    Asked {
        name: "zero-header",
        options: "-v 1.2.3 -H 0x80 --header-there --align 1 -s 3",
        counter: Some(3),
        ..PLAIN
    },
    Asked { name: "erased-to-zero", options: "-v 1.2.3 -H 0x80 -R 0", ..PLAIN },
    Asked {
        name: "padded",
        options: "-v 1.2.3 -s 9 -S 0x1000 -M 16 --pad -k ecdsa-p256.pem",
        counter: Some(9),
        signature: Some(Signature::Ecdsa),
        ..PLAIN
    },
    Asked {
        name: "padded-overwrite",
        options: "-v 1.2.3 -S 0x1000 --pad --overwrite-only --align 4",
        ..PLAIN
    },
    Asked { name: "padded-32", options: "-v 1.2.3 -S 0x2000 -M 16 --pad --align 32 --max-align 32", ..PLAIN },
    Asked { name: "confirmed", options: "-v 1.2.3 -S 0x1000 -M 16 --confirm", ..PLAIN },
    Asked { name: "non-bootable", options: "-v 1.2.3 --non-bootable", flags: 0x10, ..PLAIN },
    Asked { name: "ram-load", options: "-v 1.2.3 -L 0x20000000", flags: 0x20, ..PLAIN },
    Asked { name: "rom-fixed", options: "-v 1.2.3 -F 0x8000", flags: 0x100, ..PLAIN },
    Asked {
        name: "encrypted",
        options: "-v 1.2.3 -s 5 -k ed25519.pem -E x25519.pem",
        counter: Some(5),
        signature: Some(Signature::Ed25519),
        flags: 4,
        checked: false,
        ..PLAIN
    },
    Asked {
        name: "encrypted-256",
        options: "-v 1.2.3 -k ecdsa-p256.pem -E ecdsa-p256.pem --encrypt-keylen 256",
        signature: Some(Signature::Ecdsa),
        flags: 8,
        checked: false,
        ..PLAIN
    },
    Asked {
        name: "encrypted-sha-512",
        options: "-v 1.2.3 -k ed25519.pem -E x25519.pem --hmac-sha 512",
        signature: Some(Signature::Ed25519),
        flags: 4,
        checked: false,
        ..PLAIN
    },
    Asked {
        name: "encrypted-clear",
        options: "-v 1.2.3 -k rsa-2048.pem -E rsa-2048.pem --clear",
        signature: Some(Signature::Rsa2048),
        flags: 4,
        ..PLAIN
    },
    Asked {
        name: "other-entries",
        options: "-v 1.2.3 -s 6 --custom-tlv 0xa0 0x0102 --boot-record app --vid example.com --compression lzma2",
        counter: Some(6),
        flags: 0x400,
        ..PLAIN
    },
];

const KEYS: [&str; 6] = ["ecdsa-p256", "ecdsa-p384", "rsa-2048", "rsa-3072", "ed25519", "x25519"];

/// A program's bytes: some that do not compress and some that do.
fn payload() -> Vec<u8> {
    let noise = (0_u32..400).map(|at| at.wrapping_mul(2_654_435_761).to_be_bytes()[0]);
    noise.chain(core::iter::repeat_n(0xA5, 1000)).collect()
}

impl Asked {
    fn file(&self) -> String {
        format!("{}.bin", self.name)
    }

    fn command(&self) -> Vec<String> {
        // With room for a header before it, or without, as linkers do the one or the other.
        let there = self.options.contains("--header-there");
        let options = self.options.replace("--header-there", "");
        let mut command: Vec<String> =
            ["sign"].into_iter().chain(options.split(' ')).map(str::to_owned).collect();
        command.retain(|word| !word.is_empty());
        let mut default = |option: &str, value: &str| {
            if !command.iter().any(|word| word == option) {
                command.extend([option.to_owned(), value.to_owned()]);
            }
        };
        default("-H", "32");
        default("-S", "0x8000");
        if !there {
            command.push("--pad-header".to_owned());
        }
        command.extend([if there { "zeros.bin" } else { "payload.bin" }.to_owned(), self.file()]);
        command
    }
}

pub(crate) struct Sample {
    pub(crate) asked: Asked,
    path: PathBuf,
    pub(crate) bytes: Vec<u8>,
    dump: Dump,
}

pub(crate) struct Samples {
    /// Holds the files.
    directory: TempDir,
    pub(crate) all: Vec<Sample>,
}

impl Samples {
    pub(crate) fn find(&self, name: &str) -> &Sample {
        self.all.iter().find(|sample| sample.asked.name == name).unwrap()
    }
}

pub(crate) fn samples() -> &'static Samples {
    static SAMPLES: OnceLock<Samples> = OnceLock::new();
    SAMPLES.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("payload.bin"), payload()).unwrap();
        fs::write(at("zeros.bin"), [vec![0; 0x80], payload()].concat()).unwrap();
        let words = |line: String| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let mut commands: Vec<_> =
            KEYS.iter().map(|key| words(format!("keygen -k {key}.pem -t {key}"))).collect();
        for asked in &ASKED {
            commands.push(asked.command());
            commands.push(words(format!("dumpinfo -f json -o {0}.json {0}.bin", asked.name)));
        }
        imgtool(directory.path(), &commands);
        let all = ASKED.map(|asked| {
            let dump = fs::read(at(&format!("{}.json", asked.name))).unwrap();
            let path = at(&asked.file());
            let bytes = fs::read(&path).unwrap();
            Sample { asked, path, bytes, dump: Dump(serde_json::from_slice(&dump).unwrap()) }
        });
        Samples { directory, all: all.into() }
    })
}

#[test]
fn image_of_any_option_is_read_as_it_was_asked_for_and_as_dumpinfo_shows_it() {
    for Sample { asked, bytes, dump, .. } in &samples().all {
        let name = asked.name;
        let found = read(bytes).unwrap_or_else(|fault| panic!("{name}: {fault}"));
        let Image { header, counter, dependencies, digest, checked, names_key, signature, length } = &found;

        // As asked for.
        assert_eq!(header.version.to_string(), asked.version, "{name}");
        assert!(is_version(header.version.to_string()), "{name}");
        assert_eq!(*counter, asked.counter, "{name}");
        assert_eq!(*signature, asked.signature, "{name}");
        assert_eq!(*names_key, asked.signature.is_some(), "{name}");
        assert_eq!(header.flags.0, asked.flags, "{name}");
        assert_eq!(*checked, asked.checked, "{name}");

        // As dumpinfo shows it.
        let Header { load_address, header_length, protected_length, image_length, flags, version } = *header;
        let shown = |field: &str| dump.header(field);
        assert_eq!(u64::from(load_address), shown("load_addr"), "{name}");
        assert_eq!(u64::from(header_length), shown("hdr_size"), "{name}");
        assert_eq!(u64::from(protected_length), shown("protected_tlv_size"), "{name}");
        assert_eq!(u64::from(image_length), shown("img_size"), "{name}");
        assert_eq!(u64::from(flags.0), shown("flags"), "{name}");
        let Version { major, minor, revision, build } = version;
        assert_eq!(dump.0["header"]["version"], format!("{major}.{minor}.{revision}+{build}"), "{name}");
        assert_eq!(*length, dump.length(), "{name}");
        let counters: Vec<Vec<u8>> = counter.iter().map(|counter| counter.to_le_bytes().to_vec()).collect();
        assert_eq!(counters, dump.entries("tlvs_prot", "SEC_CNT"), "{name}");
        assert_eq!(vec![digest.to_vec()], dump.entries("tlvs", "SHA256"), "{name}");
        assert_eq!(dependencies.len(), dump.entries("tlvs_prot", "DEPENDENCY").len(), "{name}");
        let keys = ["KEYHASH", "PUBKEY"].map(|key| dump.entries("tlvs", key).len());
        assert_eq!(
            keys,
            [usize::from(*names_key && name != "whole-key"), (name == "whole-key").into()],
            "{name}"
        );
        let signatures = ["RSA2048", "ECDSASIG", "RSA3072", "ED25519"];
        let shown = signatures.map(|signature| !dump.entries("tlvs", signature).is_empty());
        let kinds = [Signature::Rsa2048, Signature::Ecdsa, Signature::Rsa3072, Signature::Ed25519];
        assert_eq!(kinds.map(|kind| *signature == Some(kind)), shown, "{name}");

        // In any chunks.
        for chunk in [1, 3, 31, 64] {
            assert_eq!(read_by(chunk, bytes).as_ref(), Ok(&found), "{name}");
        }
    }
}

#[test]
fn image_with_dependencies_says_which() {
    let found = read(&samples().find("ecdsa").bytes).unwrap();
    let version = |major, minor, revision, build| Version { major, minor, revision, build };
    let expected = [
        Dependency { image: 1, minimum: version(1, 2, 3, 4) },
        Dependency { image: 2, minimum: version(0, 1, 0, 0) },
    ];
    assert_eq!(found.dependencies, expected);
    assert!(read(&samples().find("plain").bytes).unwrap().dependencies.is_empty());
}

#[test]
fn file_of_any_option_is_read_with_version_and_counter() {
    for Sample { asked, path, bytes, .. } in &samples().all {
        let found = image::read(path).unwrap();
        assert_eq!(found.kind, Kind::Mcuboot(read(bytes).unwrap()), "{}", asked.name);
        assert_eq!((found.length, found.sha256), (bytes.len() as u64, sha256(bytes)), "{}", asked.name);
        assert_eq!(found.version.as_deref(), Some(asked.version), "{}", asked.name);
        assert_eq!(found.counter, asked.counter, "{}", asked.name);
    }
}

#[test]
fn file_with_something_special_says_so() {
    let remarks = |name: &str| image::read(&samples().find(name).path).unwrap().remarks().join("; ");
    assert_eq!(remarks("plain"), "it has no signature for MCUboot");
    assert_eq!(remarks("rsa-2048"), "");
    assert!(remarks("encrypted").contains("it is encrypted"));
    assert!(remarks("encrypted-clear").contains("its payload is in clear"));
    assert!(remarks("non-bootable").contains("not bootable"));
    assert!(remarks("ram-load").contains("it runs from RAM, at 0x20000000"));
    assert!(remarks("rom-fixed").contains("it runs from flash at 0x8000 alone"));
    assert!(remarks("other-entries").contains("compressed"));
    assert_eq!(
        remarks("ecdsa"),
        "it needs version 1.2.3+4 or later of image 1; it needs version 0.1.0 or later of image 2"
    );
    let padded = samples().find("padded");
    let padding = padded.bytes.len() as u64 - padded.dump.length();
    assert!(padding > 1000);
    assert!(remarks("padded").contains(&format!("its last {padding} bytes are padding")));
}

#[test]
fn image_with_another_digest_than_sha_256_is_refused_by_its_name() {
    let directory = samples().directory.path();
    let cases = [
        ("sha-384", "--sha 384", 0x11),
        ("sha-512", "--sha 512", 0x12),
        ("p384", "-k ecdsa-p384.pem", 0x11),
        ("pure", "-k ed25519.pem --pure", 0x12),
    ];
    let commands = cases.map(|(name, options, _)| {
        let line = format!("sign -H 32 -S 0x8000 --pad-header -v 1.2.3 {options} payload.bin {name}.bin");
        line.split(' ').map(str::to_owned).collect()
    });
    imgtool(directory, &commands);
    for (name, _, kind) in cases {
        let path = directory.join(format!("{name}.bin"));
        let fault = Fault::OtherDigest { kind };
        assert_eq!(read(&fs::read(&path).unwrap()), Err(fault), "{name}");
        let refused = Error::from(Rejected::ImageDamaged { image: path.clone(), fault });
        assert!(refused.to_string().ends_with("sign it by `imgtool sign --sha 256`"), "{refused}");
        assert_eq!(image::read(&path), Err(refused), "{name}");
    }
}

#[test]
fn file_without_the_magic_is_raw() {
    let directory = samples().directory.path();
    let command = "sign -H 32 -S 0x8000 --pad-header -v 1.2.3 --endian big payload.bin big.bin";
    imgtool(directory, &[command.split(' ').map(str::to_owned).collect()]);
    fs::write(directory.join("magic-cut"), [0x3d, 0xb8, 0xf3]).unwrap();
    for name in ["payload.bin", "big.bin", "magic-cut"] {
        let path = directory.join(name);
        let bytes = fs::read(&path).unwrap();
        assert!(!is_image(&bytes), "{name}");
        assert_eq!(read(&[&bytes[..], &[0; 32]].concat()), Err(Fault::Magic), "{name}");
        let found = image::read(&path).unwrap();
        assert_eq!(
            (&found.kind, found.length, found.sha256),
            (&Kind::Raw, bytes.len() as u64, sha256(&bytes))
        );
        assert_eq!((found.version, found.counter), (None, None), "{name}");
    }
}

#[test]
fn file_that_is_damaged_empty_growing_or_no_file_is_refused_with_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let sample = samples().find("ecdsa");
    let path = directory.path().join("damaged.bin");
    let refused = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        image::read(&path).unwrap_err()
    };
    let mut damaged = sample.bytes.clone();
    damaged[700] ^= 1;
    let error = refused(&damaged);
    assert_eq!(error, Rejected::ImageDamaged { image: path.clone(), fault: Fault::Digest }.into());
    let line = error.to_string();
    assert!(line.contains("damaged.bin") && line.contains("its bytes do not have its own SHA-256"), "{line}");
    let needed = sample.bytes.len() as u64;
    let cut = Fault::Cut { length: needed - 1, needed };
    let error = refused(&sample.bytes[..sample.bytes.len() - 1]);
    assert_eq!(error, Rejected::ImageDamaged { image: path.clone(), fault: cut }.into());
    assert_eq!(refused(b""), Rejected::ImageEmpty { image: path.clone() }.into());
    // The system says that this one is empty, as it would of a file that a build has just begun.
    let growing = Path::new("/proc/version");
    assert_eq!(image::read(growing), Err(Rejected::ImageChanged { image: growing.to_owned() }.into()));
    assert_eq!(image::read(directory.path()).unwrap_err().label(), "T301");
    assert_eq!(image::read(&directory.path().join("missing")).unwrap_err().label(), "T301");
}

#[test]
fn image_larger_than_a_chunk_is_read_to_its_end() {
    let directory = samples().directory.path();
    let large: Vec<u8> = (0..300_000_u32).map(|at| at.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    fs::write(directory.join("large-payload.bin"), &large).unwrap();
    let command = "sign -H 0x200 -S 0x100000 --pad-header -v 4.5.6 -s 8 --pad large-payload.bin large.bin";
    imgtool(directory, &[command.split(' ').map(str::to_owned).collect()]);
    let found = image::read(&directory.join("large.bin")).unwrap();
    assert_eq!((found.length, found.version.as_deref(), found.counter), (0x10_0000, Some("4.5.6"), Some(8)));
    let mut damaged = fs::read(directory.join("large.bin")).unwrap();
    damaged[200_000] ^= 0x80;
    fs::write(directory.join("large-damaged.bin"), &damaged).unwrap();
    let refused = image::read(&directory.join("large-damaged.bin")).unwrap_err();
    assert!(
        matches!(refused, Error::Rejected(Rejected::ImageDamaged { fault: Fault::Digest, .. })),
        "{refused}"
    );
}
