"""The WSGI entry point of the course service: `gunicorn wsgi_course:app`."""

from course_app import create_app

app = create_app()
