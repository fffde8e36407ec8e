//! Names and words that expressions pick from; of nobody in particular.

pub(super) const FIRST_NAMES: &[&str] = &[
    "Ada", "Amir", "Bruno", "Chidi", "Clara", "Dina", "Elif", "Emil", "Farah", "Greta", "Hana",
    "Ines", "Ivan", "Jonas", "Kofi", "Lena", "Luca", "Maja", "Mei", "Nora", "Omar", "Paula",
    "Ravi", "Sofia", "Tariq", "Uma", "Viktor", "Wanda", "Yara", "Zoe",
];
pub(super) const LAST_NAMES: &[&str] = &[
    "Abara", "Berger", "Costa", "Dubois", "Eriksen", "Fischer", "Garcia", "Hansen", "Ito",
    "Jensen", "Kaya", "Lindgren", "Moreau", "Novak", "Okafor", "Petrov", "Quint", "Rossi", "Sato",
    "Tanaka", "Umar", "Vargas", "Weber", "Yilmaz", "Zhang",
];
pub(super) const CITIES: &[&str] = &[
    "Accra", "Bergen", "Bilbao", "Cork", "Dakar", "Essen", "Gdansk", "Hanoi", "Izmir", "Kyoto",
    "Lagos", "Leipzig", "Lima", "Lyon", "Malmo", "Mumbai", "Nairobi", "Oslo", "Porto", "Quito",
    "Riga", "Tampere", "Toronto", "Turin", "Utrecht", "Vienna",
];
pub(super) const COUNTRIES: &[&str] = &[
    "Austria", "Brazil", "Canada", "Chile", "Denmark", "Egypt", "Finland", "France", "Germany",
    "Ghana", "India", "Italy", "Japan", "Kenya", "Mexico", "Nigeria", "Norway", "Peru", "Poland",
    "Portugal", "Senegal", "Spain", "Sweden", "Turkey", "Vietnam",
];
pub(super) const QUALITIES: &[&str] = &[
    "Compact", "Heavy", "Light", "Modular", "Plain", "Quiet", "Rugged", "Smart", "Solid", "Swift",
];
pub(super) const THINGS: &[&str] = &[
    "Beacon",
    "Compressor",
    "Gauge",
    "Gateway",
    "Meter",
    "Motor",
    "Probe",
    "Pump",
    "Relay",
    "Sensor",
    "Switch",
    "Thermostat",
    "Valve",
];
pub(super) const COMPANIES: &[&str] =
    &["AG", "Group", "Industries", "Ltd", "Partners", "Systems", "Works"];
pub(super) const WORDS: &[&str] = &[
    "amber", "anchor", "basin", "breeze", "cedar", "copper", "delta", "ember", "fjord", "gravel",
    "harbor", "island", "juniper", "keel", "lagoon", "marble", "north", "orbit", "pebble",
    "quartz", "river", "slate", "tide", "umber", "valley", "willow",
];
