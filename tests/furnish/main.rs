//! Roots that are furnished: by a first boot, and again for other versions of /usr, with the power cut before every change.

#[path = "../common/mod.rs"]
mod common;

mod again;
mod attributes;
mod credstore;
mod cuts;
mod firstboot;
mod full;
mod lines;
mod links;
mod machine_id;
mod refusals;
mod series;
mod states;
mod table;
mod track;
mod tree;
mod whole;
