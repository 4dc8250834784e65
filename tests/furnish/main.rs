//! Roots that are furnished: by a first boot, and again for other versions of /usr, with the power cut before every change.

mod cuts;
mod machine_id;
mod refusals;
mod table;
mod track;
mod tree;
mod whole;
