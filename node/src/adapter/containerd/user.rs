//! Who a container runs as: the manifest's numbers, or the image's user, which may be a name.

use purser_actors::port::RuntimeError;
use purser_events::pod::event::FailureClass;
use purser_events::pod::spec::User;

/// Longest account file of an image that is read, in bytes.
pub(super) const ACCOUNTS_LEN_MAX: u64 = 1 << 20;

/// Numbers for the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Further groups.
    pub(super) groups: Vec<u32>,
}

/// The image's own lists of users and groups; empty where it has none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct AccountFiles {
    pub(super) passwd: String,
    pub(super) group: String,
}

/// Whether [`resolve`] needs the image's account files: not for user 0, whom every image knows.
pub(super) fn needs_files(user: &User, image: &str) -> bool {
    match (user.uid, user.gid) {
        (Some(0), _) | (Some(_), Some(_)) => false,
        (Some(_), None) => true,
        (None, _) => !matches!(image, "" | "0" | "root" | "0:0" | "root:root"),
    }
}

/// Finds who a container runs as. `image` is the image's `USER`: a name or number, perhaps with `:group`.
///
/// # Errors
/// The image does not know the name, or it is user 0 and the manifest forbids that.
pub(super) fn resolve(user: &User, image: &str, files: &AccountFiles) -> Result<Account, RuntimeError> {
    let invalid = |message: String| RuntimeError::new(FailureClass::Invalid, message);
    let (image_user, image_group) = match image.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (image, None),
    };
    let wanted = user.uid.map(|uid| uid.to_string());
    let wanted = wanted.as_deref().unwrap_or(if image_user.is_empty() { "0" } else { image_user });
    let entry = find_user(wanted, &files.passwd);
    let uid = entry.as_ref().map(|entry| entry.uid).or_else(|| known_uid(wanted));
    let uid =
        uid.ok_or_else(|| invalid(format!("the image has no user `{wanted:.64}` in its /etc/passwd")))?;
    // A group that the image names belongs to its own user, not to the manifest's.
    let image_group = image_group.filter(|_| user.uid.is_none());
    let gid = match (user.gid, image_group) {
        (Some(gid), _) => gid,
        (None, Some(group)) => find_group(group, &files.group)
            .ok_or_else(|| invalid(format!("the image has no group `{group:.64}` in its /etc/group")))?,
        (None, None) => entry.as_ref().map_or(0, |entry| entry.gid),
    };
    if user.non_root && uid == 0 {
        return Err(invalid(
            "the container would run as user 0 (root), which its runAsNonRoot forbids".into(),
        ));
    }
    let groups = match &entry {
        Some(entry) if image_group.is_none() => memberships(&entry.name, &files.group, gid),
        Some(_) | None => Vec::new(),
    };
    Ok(Account { uid, gid, groups })
}

struct Entry {
    name: String,
    uid: u32,
    gid: u32,
}

fn known_uid(text: &str) -> Option<u32> {
    if text == "root" { Some(0) } else { text.parse().ok() }
}

fn find_user(wanted: &str, passwd: &str) -> Option<Entry> {
    let number: Option<u32> = wanted.parse().ok();
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let (uid, gid) = (uid.parse().ok()?, gid.parse().ok()?);
        (name == wanted || Some(uid) == number).then(|| Entry { name: name.to_owned(), uid, gid })
    })
}

fn find_group(wanted: &str, group: &str) -> Option<u32> {
    let named = group.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, gid) = (fields.next()?, fields.next()?, fields.next()?);
        if name == wanted { gid.parse().ok() } else { None }
    });
    named.or_else(|| known_uid(wanted))
}

fn memberships(user: &str, group: &str, main: u32) -> Vec<u32> {
    let mut gids: Vec<u32> = group
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let (_, _, gid, members) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
            let is_member = members.split(',').any(|member| member.trim() == user);
            if is_member { gid.parse().ok() } else { None }
        })
        .filter(|gid| *gid != main)
        .take(64)
        .collect();
    gids.sort_unstable();
    gids.dedup();
    gids
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> AccountFiles {
        AccountFiles {
            passwd: "root:x:0:0:root:/root:/bin/sh\nbroken\nweb:x:1000:1001::/:/bin/sh\n".into(),
            group: "root:x:0:\nweb:x:1001:\nlogs:x:44:web,other\n".into(),
        }
    }

    fn account(uid: u32, gid: u32, groups: &[u32]) -> Account {
        Account { uid, gid, groups: groups.to_vec() }
    }

    #[test]
    fn the_image_may_name_its_user() {
        let nobody_said = User::default();
        for (image, wanted) in [
            ("", account(0, 0, &[])),
            ("web", account(1000, 1001, &[44])),
            ("1000", account(1000, 1001, &[44])),
            ("1000:5", account(1000, 5, &[])),
            ("web:logs", account(1000, 44, &[])),
            ("7", account(7, 0, &[])),
        ] {
            assert_eq!(resolve(&nobody_said, image, &files()), Ok(wanted), "{image:?}");
        }
        assert!(resolve(&nobody_said, "ghost", &files()).is_err());
        assert!(resolve(&nobody_said, "web:ghost", &files()).is_err());
        assert!(resolve(&nobody_said, "ghost", &AccountFiles::default()).is_err());
    }

    #[test]
    fn the_manifest_wins_over_the_image() {
        let user = User { uid: Some(2000), ..User::default() };
        assert_eq!(resolve(&user, "web:logs", &files()), Ok(account(2000, 0, &[])));
        let user = User { uid: Some(1000), gid: Some(9), ..User::default() };
        assert_eq!(resolve(&user, "", &files()), Ok(account(1000, 9, &[44])));
        let user = User { gid: Some(9), ..User::default() };
        assert_eq!(resolve(&user, "web", &files()), Ok(account(1000, 9, &[44])));
    }

    #[test]
    fn root_is_refused_where_it_is_forbidden() {
        let user = User { non_root: true, ..User::default() };
        for image in ["", "root", "0", "0:5"] {
            assert!(resolve(&user, image, &files()).is_err(), "{image:?}");
        }
        assert!(resolve(&user, "web", &files()).is_ok());
    }
}
