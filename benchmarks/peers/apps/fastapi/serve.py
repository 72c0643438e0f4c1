"""All the models on FastAPI, in its process: `/NAME` is a `def` endpoint, `/async/NAME` an `async def` one."""

import functools

import model
from fastapi import FastAPI, HTTPException
from messages import Answer, FileInput, NumberInput, SeedInput, TextInput

app = FastAPI()
matrix = functools.cache(model.Matrix)


@app.post("/Text")
def text(given: TextInput) -> Answer:
    return Answer(output=model.greet(given.s))


@app.post("/async/Text")
async def text_async(given: TextInput) -> Answer:
    return Answer(output=model.greet(given.s))


@app.post("/FileIn")
def file_in(given: FileInput) -> Answer:
    try:
        return Answer(output=model.measure_url(given.file))
    except ValueError as error:
        raise HTTPException(422, str(error)) from error


@app.post("/async/FileIn")
async def file_in_async(given: FileInput) -> Answer:
    return file_in(given)


@app.post("/FileOut")
def file_out(given: SeedInput) -> Answer:
    return Answer(output=model.draw_url(given.seed))


@app.post("/async/FileOut")
async def file_out_async(given: SeedInput) -> Answer:
    return file_out(given)


@app.post("/async/Sleep")
async def sleep_async(given: TextInput) -> Answer:
    return Answer(output=await model.greet_later(given.s))


@app.post("/Matmul")
def matmul(given: NumberInput) -> Answer:
    return Answer(output=matrix().multiply([given.x])[0])


@app.post("/async/Matmul")
async def matmul_async(given: NumberInput) -> Answer:
    return matmul(given)
