# The slice: written for this repository, in place of the platform's file of this path.

import opaque_keys.edx.django.models
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
    ]

    operations = [
        migrations.CreateModel(
            name='CourseOverview',
            fields=[
                ('id', opaque_keys.edx.django.models.CourseKeyField(db_index=True, max_length=255, primary_key=True, serialize=False)),
                ('org', models.TextField(default='outdated_entry', max_length=255)),
                ('display_name', models.TextField(null=True)),
                ('end', models.DateTimeField(null=True)),
                ('self_paced', models.BooleanField(default=False)),
                ('certificates_display_behavior', models.TextField(null=True)),
                ('certificate_available_date', models.DateTimeField(default=None, null=True)),
            ],
        ),
    ]
