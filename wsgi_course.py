"""The course service for a WSGI server: `gunicorn wsgi_course:app`."""

from course_app import create_app

app = create_app()
