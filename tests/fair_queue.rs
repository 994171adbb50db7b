//! The fair queue keeps its bounds, loses nobody, and lets no principal live at the cost of
//! another.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use mainstay::policy::class::Class;
use mainstay::policy::codel::Pace;
use mainstay::policy::fair_queue::{
    Bounds, Cause, Entry, FairQueue, Fate, Full, Popped, Pushed, Ticket,
};
use proptest::prelude::*;

const BOUNDS: Bounds = Bounds {
    count: 100,
    bytes: 1 << 20,
    usual_wait: Duration::from_secs(5),
};
const PACE: Pace = Pace {
    target: Duration::from_millis(5),
    interval: Duration::from_millis(100),
};
const NORMAL: Class = Class::Normal;

/// A queue of numbers, and a clock that is moved by hand.
struct Bench {
    queue: FairQueue<u32>,
    now: Instant,
}

impl Bench {
    fn new(bounds: Bounds) -> Self {
        Self {
            queue: FairQueue::new(bounds, PACE),
            now: Instant::now(),
        }
    }

    fn entry(&self, principal: u64, class: Class, item: u32) -> Entry<u32> {
        Entry {
            principal,
            class,
            bytes: 100,
            deadline: self.now + Duration::from_secs(60),
            item,
        }
    }

    fn push(&mut self, principal: u64, class: Class, item: u32) -> Pushed<u32> {
        self.queue
            .push(self.now, self.entry(principal, class, item))
    }

    /// Pushes an entry for which there is room.
    fn queued(&mut self, principal: u64, class: Class, item: u32) -> Ticket {
        match self.push(principal, class, item) {
            Pushed::Queued(ticket) => ticket,
            other => panic!("{item} was not queued: {other:?}"),
        }
    }

    fn pop(&mut self) -> Popped<u32> {
        self.queue.pop(self.now, |_| Fate::Serve)
    }

    /// The items in the order in which they are served, without anybody shed.
    fn served(&mut self) -> Vec<u32> {
        let pops = std::iter::from_fn(|| {
            let popped = self.pop();
            assert!(popped.shed.is_empty(), "{:?}", popped.shed);
            popped.next.map(|(entry, _)| entry.item)
        });
        pops.collect()
    }

    fn sleep(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
    }
}

fn items(entries: &[Entry<u32>]) -> Vec<u32> {
    entries.iter().map(|entry| entry.item).collect()
}

#[test]
fn principals_take_turns_and_each_is_served_in_its_order() {
    let mut bench = Bench::new(BOUNDS);
    for item in [10, 11, 12, 13] {
        bench.queued(1, NORMAL, item);
    }
    bench.queued(2, NORMAL, 20);
    bench.queued(3, NORMAL, 30);
    bench.queued(3, NORMAL, 31);
    assert_eq!(bench.served(), [10, 20, 30, 11, 31, 12, 13]);
    assert_eq!((bench.queue.len(), bench.queue.bytes()), (0, 0));
    assert_eq!(bench.queue.flows().count(), 0);
}

#[test]
fn what_matters_more_goes_first() {
    let mut bench = Bench::new(BOUNDS);
    bench.queued(1, Class::Background, 1);
    bench.queued(1, NORMAL, 2);
    bench.queued(2, NORMAL, 3);
    bench.queued(1, Class::Critical, 4);
    assert_eq!(bench.served(), [4, 2, 3, 1]);
}

#[test]
fn large_calls_take_several_turns() {
    let mut bench = Bench::new(BOUNDS);
    for item in 0..3 {
        let bytes = 3 * (64 << 10);
        let large = bench.entry(1, NORMAL, item);
        assert!(matches!(
            bench.queue.push(bench.now, Entry { bytes, ..large }),
            Pushed::Queued(_)
        ));
    }
    for item in 10..16 {
        bench.queued(2, NORMAL, item);
    }
    assert_eq!(bench.served(), [10, 11, 12, 0, 13, 14, 15, 1, 2]);
}

#[test]
fn the_longest_flow_makes_room_with_its_newest() {
    let mut bench = Bench::new(Bounds { count: 4, ..BOUNDS });
    for item in 10..14 {
        bench.queued(1, NORMAL, item);
    }
    let Pushed::Refused { entry, why, .. } = bench.push(1, NORMAL, 14) else {
        panic!("a flow displaced itself");
    };
    assert_eq!((entry.item, why), (14, Full::Count));
    for item in [20, 21] {
        let Pushed::Displaced { victims, .. } = bench.push(2, NORMAL, item) else {
            panic!("{item} found no room");
        };
        assert_eq!(items(&victims), [33 - item]);
    }
    // Both have two now: nobody has more than anybody else would then have.
    assert!(matches!(bench.push(2, NORMAL, 22), Pushed::Refused { .. }));
    assert!(matches!(
        bench.push(3, NORMAL, 30),
        Pushed::Displaced { .. }
    ));
    assert!(matches!(
        bench.push(4, NORMAL, 40),
        Pushed::Displaced { .. }
    ));
    assert!(matches!(bench.push(5, NORMAL, 50), Pushed::Refused { .. }));
}

#[test]
fn lower_classes_make_room_first_and_higher_ones_never() {
    let mut bench = Bench::new(Bounds { count: 3, ..BOUNDS });
    bench.queued(1, Class::Background, 1);
    bench.queued(2, NORMAL, 2);
    bench.queued(2, NORMAL, 3);
    for (item, victim) in [(4, 1), (5, 3), (6, 2)] {
        let Pushed::Displaced { victims, .. } = bench.push(3, Class::Critical, item) else {
            panic!("{item} found no room");
        };
        assert_eq!(items(&victims), [victim]);
    }
    assert!(matches!(bench.push(9, NORMAL, 7), Pushed::Refused { .. }));
}

#[test]
fn bytes_are_bounded_too() {
    let mut bench = Bench::new(Bounds {
        bytes: 1000,
        ..BOUNDS
    });
    for item in 0..10 {
        bench.queued(1, NORMAL, item);
    }
    let of = |bench: &Bench, bytes| Entry {
        bytes,
        ..bench.entry(2, NORMAL, 20)
    };
    for bytes in [501, 1001, usize::MAX] {
        let entry = of(&bench, bytes);
        let Pushed::Refused { why, .. } = bench.queue.push(bench.now, entry) else {
            panic!("{bytes} bytes found room");
        };
        assert_eq!(why, Full::Bytes);
        assert_eq!(bench.queue.len(), 10, "somebody left for nothing");
    }
    let entry = of(&bench, 250);
    let Pushed::Displaced { victims, .. } = bench.queue.push(bench.now, entry) else {
        panic!("no room was made");
    };
    assert_eq!(items(&victims), [9, 8, 7]);
    assert_eq!(bench.queue.bytes(), 950);
}

/// Pitfall 6: queued calls of callers who are gone are run.
#[test]
fn whoever_is_gone_or_late_is_not_served() {
    let mut bench = Bench::new(BOUNDS);
    let tickets: Vec<Ticket> = (0..100)
        .map(|item| bench.queued(u64::from(item % 7), NORMAL, item))
        .collect();
    for (item, ticket) in tickets.iter().enumerate().filter(|(item, _)| item % 2 == 0) {
        assert_eq!(
            bench.queue.remove(*ticket).map(|entry| entry.item as usize),
            Some(item)
        );
        assert!(bench.queue.remove(*ticket).is_none());
    }
    assert_eq!((bench.queue.len(), bench.queue.bytes()), (50, 5000));
    let gone = bench.queue.pop(bench.now, |_| Fate::Gone);
    assert!(gone.next.is_none() && gone.shed.iter().all(|(_, cause)| *cause == Cause::Gone));
    assert_eq!(gone.shed.len(), 50);
    // Their places are used again, and their tickets name nobody.
    bench.queued(1, NORMAL, 200);
    assert!(
        tickets
            .iter()
            .all(|ticket| bench.queue.remove(*ticket).is_none())
    );
    bench.sleep(60_000);
    let late = bench.pop();
    assert!(late.next.is_none() && late.shed[0].1 == Cause::Expired);
}

#[test]
fn whoever_needs_a_special_place_is_not_overtaken() {
    let mut bench = Bench::new(BOUNDS);
    bench.queued(1, NORMAL, 1);
    bench.queued(2, NORMAL, 2);
    for _ in 0..5 {
        let fate = |item: &u32| if *item == 1 { Fate::Wait } else { Fate::Serve };
        let popped = bench.queue.pop(bench.now, fate);
        assert!(popped.next.is_none() && popped.shed.is_empty());
    }
    assert_eq!(bench.served(), [1, 2]);
}

#[test]
fn pressure_takes_all_of_a_class_and_the_end_takes_everybody() {
    let mut bench = Bench::new(BOUNDS);
    for (item, class) in [
        (1, Class::Background),
        (2, NORMAL),
        (3, Class::Background),
        (4, Class::Critical),
    ] {
        bench.queued(u64::from(item), class, item);
    }
    assert_eq!(items(&bench.queue.shed_class(Class::Background)), [1, 3]);
    assert_eq!(items(&bench.queue.drain()), [4, 2]);
    assert!(bench.queue.is_empty() && bench.queue.bytes() == 0);
}

#[test]
fn a_standing_queue_serves_the_newest_and_sheds_the_oldest() {
    let mut bench = Bench::new(Bounds {
        count: 1000,
        ..BOUNDS
    });
    let mut item = 0;
    let mut shed = Vec::new();
    let mut served = Vec::new();
    // Twice as many come as can be served, one of each ten of them from principal 2.
    for step in 0..400u32 {
        for _ in 0..2 {
            item += 1;
            let principal = if item % 10 == 0 { 2 } else { 1 };
            bench.queued(principal, NORMAL, item);
        }
        bench.sleep(5);
        let popped = bench.pop();
        shed.extend(popped.shed.into_iter().map(|(entry, cause)| {
            assert_eq!((entry.principal, cause), (1, Cause::Standing));
            (step, entry.item)
        }));
        served.extend(
            popped
                .next
                .map(|(entry, waited)| (step, entry.item, waited)),
        );
    }
    assert!(bench.queue.is_standing(NORMAL));
    assert!(
        shed[0].0 >= 20,
        "nobody is shed in the first 100 ms: {shed:?}"
    );
    assert!(
        shed.windows(2).all(|two| two[0].1 < two[1].1),
        "oldest first: {shed:?}"
    );
    let late = served.iter().filter(|(step, ..)| *step > 50);
    for (step, item, waited) in late {
        assert!(
            *waited <= PACE.target * 2,
            "step {step}: {item} waited {waited:?}"
        );
    }
}

#[test]
fn a_wait_is_told_by_how_fast_the_queue_moves() {
    let mut bench = Bench::new(Bounds {
        count: 50,
        ..BOUNDS
    });
    assert_eq!(bench.queue.retry_after(), BOUNDS.usual_wait);
    bench.queue.set_pace(Pace::scaled(None, BOUNDS.usual_wait));
    for item in 0..50 {
        bench.queued(1, NORMAL, item);
    }
    for item in 50..90 {
        bench.sleep(4);
        assert!(bench.pop().next.is_some());
        bench.queued(1, NORMAL, item);
    }
    let Pushed::Refused { retry_after, .. } = bench.push(1, NORMAL, 99) else {
        panic!("more than fits");
    };
    assert_eq!(retry_after, Duration::from_millis(50 * 4));
}

/// Ten calls come for one that can be served, nearly all of one principal: each of the others is
/// served as if everybody asked for the same.
#[test]
fn a_flood_takes_nobody_elses_share() {
    let mut bench = Bench::new(BOUNDS);
    let mut served: BTreeMap<u64, u32> = BTreeMap::new();
    let mut asked = 0;
    for step in 0..20_000u32 {
        // Four modest principals ask for a sixth of the places each; fair would be a fifth.
        if step % 6 < 4 {
            asked += 1;
            let _ = bench.push(u64::from(step % 6) + 1, NORMAL, step);
        }
        for _ in 0..10 {
            let _ = bench.push(0, NORMAL, step);
        }
        bench.sleep(1);
        if let Some((entry, _)) = bench.pop().next {
            *served.entry(entry.principal).or_default() += 1;
        }
    }
    let total: u32 = served.values().sum();
    assert!(total > 19_900, "places stood empty: {total}");
    for principal in 1..=4 {
        let share = f64::from(served[&principal]) / f64::from(asked / 4);
        assert!(
            share >= 0.95,
            "{principal} got {share} of what it asked for: {served:?}"
        );
    }
}

#[derive(Clone, Debug)]
enum Step {
    Push {
        principal: u64,
        class: usize,
        bytes: usize,
        lives: u64,
    },
    Pop,
    Remove(usize),
    Sleep(u64),
    Shed(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u64..5, 0usize..3, 0usize..400, 1u64..500).prop_map(|(principal, class, bytes, lives)| {
            Step::Push { principal, class, bytes: bytes * 500, lives }
        }),
        3 => Just(Step::Pop),
        1 => (0usize..1000).prop_map(Step::Remove),
        2 => (0u64..60).prop_map(Step::Sleep),
        1 => (0usize..30).prop_map(Step::Shed),
    ]
}

proptest! {
    #[test]
    fn the_bounds_hold_and_everybody_leaves_exactly_once(steps in prop::collection::vec(step(), 1..400)) {
        const CLASSES: [Class; 3] = [Class::Background, Class::Normal, Class::Critical];
        let mut bench = Bench::new(Bounds { count: 12, ..BOUNDS });
        let mut tickets = Vec::new();
        // By item: the bytes of those who wait.
        let mut waiting: BTreeMap<u32, usize> = BTreeMap::new();
        let leave = |waiting: &mut BTreeMap<u32, usize>, entry: &Entry<u32>| {
            assert_eq!(waiting.remove(&entry.item), Some(entry.bytes), "{} left twice", entry.item);
        };
        let mut item = 0;
        for step in steps {
            match step {
                Step::Push { principal, class, bytes, lives } => {
                    item += 1;
                    waiting.insert(item, bytes);
                    let deadline = bench.now + Duration::from_millis(lives);
                    let entry = Entry { principal, class: CLASSES[class], bytes, deadline, item };
                    match bench.queue.push(bench.now, entry) {
                        Pushed::Queued(ticket) => tickets.push((ticket, item)),
                        Pushed::Displaced { ticket, victims, .. } => {
                            tickets.push((ticket, item));
                            prop_assert!(!victims.is_empty());
                            prop_assert!(victims.iter().all(|v| v.class <= CLASSES[class] && v.principal != principal || v.class < CLASSES[class]));
                            victims.iter().for_each(|entry| leave(&mut waiting, entry));
                        }
                        Pushed::Refused { entry, .. } => leave(&mut waiting, &entry),
                    }
                }
                Step::Pop => {
                    let popped = bench.pop();
                    if let Some((entry, _)) = &popped.next {
                        prop_assert!(entry.deadline > bench.now);
                        leave(&mut waiting, entry);
                    } else {
                        prop_assert!(bench.queue.is_empty());
                    }
                    popped.shed.iter().for_each(|(entry, _)| leave(&mut waiting, entry));
                }
                Step::Remove(n) if !tickets.is_empty() => {
                    let (ticket, item) = tickets[n % tickets.len()];
                    let removed = bench.queue.remove(ticket);
                    prop_assert_eq!(removed.is_some(), waiting.contains_key(&item));
                    removed.iter().for_each(|entry| leave(&mut waiting, entry));
                }
                Step::Sleep(millis) => bench.sleep(millis),
                Step::Shed(class) if class < 3 => {
                    let shed = bench.queue.shed_class(CLASSES[class]);
                    shed.iter().for_each(|entry| leave(&mut waiting, entry));
                }
                Step::Remove(_) | Step::Shed(_) => {}
            }
            prop_assert!(bench.queue.len() <= 12 && bench.queue.bytes() <= BOUNDS.bytes);
            prop_assert_eq!(bench.queue.len(), waiting.len());
            prop_assert_eq!(bench.queue.bytes(), waiting.values().sum::<usize>());
            let flows: Vec<_> = bench.queue.flows().collect();
            prop_assert_eq!(flows.iter().map(|flow| flow.waiting).sum::<usize>(), waiting.len());
            prop_assert!(flows.iter().all(|flow| flow.waiting > 0));
        }
        bench.queue.drain().iter().for_each(|entry| leave(&mut waiting, entry));
        prop_assert!(waiting.is_empty());
    }

    #[test]
    fn a_healthy_queue_keeps_the_order_of_each_principal(calls in prop::collection::vec((0u64..4, 0usize..3), 1..60)) {
        let mut bench = Bench::new(BOUNDS);
        let mut orders: BTreeMap<u64, VecDeque<u32>> = BTreeMap::new();
        for (item, (principal, pops)) in (0u32..).zip(calls) {
            bench.queued(principal, NORMAL, item);
            orders.entry(principal).or_default().push_back(item);
            for _ in 1..pops {
                if let Some((entry, _)) = bench.pop().next {
                    prop_assert_eq!(orders.get_mut(&entry.principal).unwrap().pop_front(), Some(entry.item));
                }
            }
        }
        for item in bench.served() {
            prop_assert!(orders.values_mut().any(|order| order.front() == Some(&item) && order.pop_front().is_some()));
        }
    }
}
