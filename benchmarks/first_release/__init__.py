"""The data of the printed tables, from the public COVID-19 Radiography Database."""
