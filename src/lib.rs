pub mod tiering;
