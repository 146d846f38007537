# The slice: written for this repository, in place of the platform's file of this path.

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('course_overviews', '0001_initial'),
    ]

    operations = [
        migrations.CreateModel(
            name='CourseMode',
            fields=[
                ('id', models.AutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('mode_slug', models.CharField(max_length=100)),
                ('course', models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='modes', to='course_overviews.courseoverview')),
            ],
            options={
                'unique_together': {('course', 'mode_slug')},
            },
        ),
    ]
