//! sysusers.d and the four databases.

use hermetic_init::{
    config::credentials::Credentials,
    fragments::words,
    level::Level,
    secret::Secret,
    sysusers::{
        Databases, Definitions, Facts, Message,
        allocate::Owner,
        database::{Kind, with_field},
        names::{is_name, is_path, simplify},
        plan::{Plan, plan},
        surroundings::Surroundings,
    },
};

use crate::input::{Input, join, text};

/// One file of definitions, the four databases, a credential.
pub fn sysusers(data: &[u8]) {
    let [content, passwd, group, shadow, gshadow, credential]: [&[u8]; 6] = Input::new(data).parts();
    let _ = words::split(&text(content), 6);
    let path = simplify(&text(content));
    assert_eq!(simplify(&path), path);

    let facts =
        Facts { machine_id: Some("0123".repeat(8)), hostname: Some("a.b".into()), ..Facts::default() };
    let mut definitions = Definitions::new();
    definitions.parse("a.conf", content, &facts);
    for user in definitions.users() {
        assert!(is_name(&user.name) && user.home.as_deref().is_none_or(is_path));
    }
    let there = |content: &[u8]| (!content.is_empty()).then(|| content.to_vec());
    let old = Databases {
        passwd: there(passwd),
        group: there(group),
        shadow: there(shadow),
        gshadow: there(gshadow),
    };
    let mut credentials = Credentials::new();
    for name in ["passwd.hashed-password.root", "passwd.shell.alice"] {
        credentials.add(name, Secret::new(credential.to_vec()));
    }
    let owners =
        definitions.owner_paths().map(|path| (path.to_owned(), Owner { uid: 40, gid: 41 })).collect();
    let surroundings = Surroundings {
        owners,
        has_bash: true,
        today: 20_000,
        credentials: &credentials,
        salt: &|| None,
        service: &(),
    };
    let first = match plan(&definitions, &old, &surroundings) {
        Ok(first) => first,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    kept(&old, &first);
    for (what, ids) in [
        ("user", first.allocation.users.iter().map(|new| new.uid).collect::<Vec<_>>()),
        ("group", first.allocation.groups.iter().map(|new| new.gid).collect()),
    ] {
        let mut distinct = ids.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), ids.len(), "two new {what}s have one id");
    }
    let failed = |message: &Message| matches!(message.level, Level::Error);
    if !first.allocation.messages.iter().any(failed) {
        let new = Databases {
            passwd: first.passwd.clone().or(old.passwd),
            group: first.group.clone().or(old.group),
            shadow: first.shadow.clone().or(old.shadow),
            gshadow: first.gshadow.clone().or(old.gshadow),
        };
        let again = plan(&definitions, &new, &surroundings).expect("what was written is not understood");
        assert!(again.allocation.users.is_empty() && again.allocation.groups.is_empty(), "not all was made");
        let changed = [again.passwd, again.group, again.shadow, again.gshadow];
        assert!(changed.iter().all(Option::is_none), "the second plan still changes something");
    }
}

/// Every line that was there is there, in its order: as it was, or with the one field changed that may change.
fn kept(old: &Databases, plan: &Plan) {
    let files = [
        (Kind::Passwd, &old.passwd, &plan.passwd, None),
        (Kind::Group, &old.group, &plan.group, Some(3)),
        (Kind::Shadow, &old.shadow, &plan.shadow, Some(2)),
        (Kind::Gshadow, &old.gshadow, &plan.gshadow, Some(3)),
    ];
    for (kind, before, after, field) in files {
        let (Some(before), Some(after)) = (before, after) else { continue };
        let after = kind.lines(after);
        let mut left = after.iter();
        for line in kind.lines(before) {
            let same = |new: &[u8]| {
                let masked = |text: &[u8]| with_field(text, field.unwrap_or(0), b"");
                new == line.text
                    || (line.entry.is_some() && field.is_some() && masked(new) == masked(line.text))
            };
            assert!(left.any(|new| same(new.text)), "{:?} is gone", String::from_utf8_lossy(line.text));
        }
    }
}

pub(crate) fn sysusers_seeds() -> Vec<Vec<u8>> {
    let definitions = b"u root 0 \"Super User\" /root /bin/bash\ng tty 5\nu! alice 1000:users - /home/%m/../x\n\
        g users /etc/group\nm alice tty\nm bob wheel\nr - 500-900\nu daemon -:tty 'a b'\n# x\nu web /srv/web \"W %H\" - -\n";
    let passwd = b"root:x:0:0:root:/root:/bin/sh\n# comment\n\nold:x:7:7::/:/x\n+nis\n";
    let group = b"root:x:0:\ntty:x:5:old, other\n+:::\n";
    let shadow = b"root:*:1:0:99999:7:::\nalice:!:2::::::\n";
    let gshadow = b"root:*::\n";
    vec![
        join(&[definitions, passwd, group, shadow, gshadow, b"$y$hash"]),
        join(&[definitions, b"", b"", b"", b"", b"a:b"]),
        join(&[b"m a b\nm c d\ng b 3\nu c 3\nu a 3:4\ng x 4\n", passwd, group, shadow, gshadow]),
    ]
}
