//! Who set something, as it is recorded: the user at the other end of the socket. The name comes
//! from /etc/passwd alone, not from a directory service: one that is down must not hold up the
//! operator who repairs it. A user that only such a service knows is recorded by its number.

/// The user `uid` for people, such as `user 0 (root)`, or `user 4711` if it has no name here.
pub(super) fn author(uid: u32) -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    match name(&passwd, uid) {
        Some(name) => format!("user {uid} ({name})"),
        None => format!("user {uid}"),
    }
}

/// The name of a user in a passwd(5) file.
fn name(passwd: &str, uid: u32) -> Option<&str> {
    let uid = uid.to_string();
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        (fields.nth(1) == Some(uid.as_str())).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_that_of_the_whole_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\n\nmainstay:x:990:100::/:/bin/false\n::0\n";
        assert_eq!(name(passwd, 0), Some("root"));
        assert_eq!(name(passwd, 990), Some("mainstay"));
        for stranger in [1, 99, 100] {
            assert_eq!(name(passwd, stranger), None, "{stranger}");
        }
    }
}
