"""The database: tables, sessions, and the only place where records become rows and back. No torch here."""
