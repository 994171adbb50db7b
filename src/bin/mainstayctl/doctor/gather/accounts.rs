//! Users and groups as the files in /etc have them. Accounts from elsewhere are known by number.

use super::Place;

/// `/etc/passwd` and `/etc/group`.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    users: Vec<User>,
    groups: Vec<Group>,
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) uid: u32,
    /// Its group and those it is a member of.
    pub(super) groups: Vec<u32>,
}

#[derive(Debug)]
struct Group {
    name: String,
    gid: u32,
    members: Vec<String>,
}

impl Accounts {
    pub(super) fn read(place: &Place<'_>) -> Self {
        let passwd = place.read("/etc/passwd").unwrap_or_default();
        let group = place.read("/etc/group").unwrap_or_default();
        let groups: Vec<Group> = group.lines().filter_map(read_group).collect();
        let users = passwd.lines().filter_map(|line| read_user(line, &groups));
        Self {
            users: users.collect(),
            groups,
        }
    }

    /// The user of this name or number.
    pub(super) fn user(&self, name: &str) -> Option<&User> {
        let number = name.parse().ok();
        let mut users = self.users.iter();
        users.find(|user| user.name == name || Some(user.uid) == number)
    }

    /// The name of a user, or its number.
    pub(super) fn user_name(&self, uid: u32) -> String {
        let user = self.users.iter().find(|user| user.uid == uid);
        user.map_or_else(|| uid.to_string(), |user| user.name.clone())
    }

    /// The name of a group, or its number.
    pub(super) fn group_name(&self, gid: u32) -> String {
        let group = self.groups.iter().find(|group| group.gid == gid);
        group.map_or_else(|| gid.to_string(), |group| group.name.clone())
    }
}

/// `name:password:uid:gid:...`
fn read_user(line: &str, groups: &[Group]) -> Option<User> {
    let mut fields = line.split(':');
    let name = fields.next()?.to_owned();
    let uid = fields.nth(1)?.parse().ok()?;
    let own = fields.next()?.parse().ok()?;
    let others = groups.iter().filter(|group| group.members.contains(&name));
    let groups = [own].into_iter().chain(others.map(|group| group.gid));
    Some(User {
        groups: groups.collect(),
        name,
        uid,
    })
}

/// `name:password:gid:member,member`
fn read_group(line: &str) -> Option<Group> {
    let mut fields = line.split(':');
    let name = fields.next()?.to_owned();
    let gid = fields.nth(1)?.parse().ok()?;
    let members = fields.next().unwrap_or_default().split(',');
    Some(Group {
        name,
        gid,
        members: members.map(ToOwned::to_owned).collect(),
    })
}
