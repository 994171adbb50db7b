//! The tunes that come with the server.
//!
//! All are in the public domain and were typed in for this project, as was the harmony of the chorale;
//! no edition was copied. Between them they are major, minor and modal, have pick-up bars, triplets,
//! ties, two voices and four.

const TUNES: [(&str, &str); 8] = [
    ("ah_vous_dirai_je", include_str!("ah_vous_dirai_je.abc")),
    ("amazing_grace", include_str!("amazing_grace.abc")),
    ("frere_jacques", include_str!("frere_jacques.abc")),
    ("greensleeves", include_str!("greensleeves.abc")),
    ("harvest_hornpipe", include_str!("harvest_hornpipe.abc")),
    ("ode_to_joy", include_str!("ode_to_joy.abc")),
    ("old_hundredth", include_str!("old_hundredth.abc")),
    ("scarborough_fair", include_str!("scarborough_fair.abc")),
];

/// The names of the tunes, sorted.
pub fn names() -> impl Iterator<Item = &'static str> {
    TUNES.iter().map(|(name, _)| *name)
}

/// The ABC of a tune.
#[must_use]
pub fn find(name: &str) -> Option<&'static str> {
    TUNES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, abc)| *abc)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::abc;

    #[test]
    fn every_tune_is_read_and_every_full_measure_is_full() {
        for name in names() {
            let score =
                abc::read(find(name).unwrap()).unwrap_or_else(|error| panic!("{name}: {error}"));
            let lengths: Vec<Vec<f64>> = score
                .parts
                .iter()
                .map(|part| {
                    part.measures
                        .iter()
                        .map(|measure| measure.length.quarters())
                        .collect()
                })
                .collect();
            let full = lengths[0][1];
            for part in &lengths {
                assert_eq!(part.len(), lengths[0].len(), "{name}: {lengths:?}");
                let inner = &part[1..part.len() - 1];
                assert!(
                    inner.iter().all(|length| *length == full),
                    "{name}: {lengths:?}"
                );
                assert!(
                    part[0] == full || part[0] + part[part.len() - 1] == full,
                    "{name}: {lengths:?}"
                );
            }
        }
    }
}
