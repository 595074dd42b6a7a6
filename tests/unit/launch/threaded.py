"""A module that starts a thread when it is imported, as no module that the fork server imports may."""

import threading

threading.Thread(target=threading.Event().wait, daemon=True).start()
