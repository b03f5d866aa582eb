using System.Text;
using System.Text.Json.Nodes;

namespace OrleansCluster.Api.Tests.Patching;

public sealed class JsonPatchTests
{
    [Theory]
    [InlineData("""{"a":1}""", """[{"op":"add","path":"/b","value":{"c":[1]}}]""", """{"a":1,"b":{"c":[1]}}""")]
    [InlineData("""{"a":1}""", """[{"op":"add","path":"/a","value":null}]""", """{"a":null}""")]
    [InlineData("""{"a":[1,3]}""", """[{"op":"add","path":"/a/1","value":2},{"op":"add","path":"/a/-","value":4},{"op":"add","path":"/a/4","value":5}]""", """{"a":[1,2,3,4,5]}""")]
    [InlineData("""{"a":1,"b":2}""", """[{"op":"remove","path":"/a"}]""", """{"b":2}""")]
    [InlineData("""{"a":[1,2,3]}""", """[{"op":"remove","path":"/a/1"}]""", """{"a":[1,3]}""")]
    [InlineData("""{"a":{"b":1}}""", """[{"op":"replace","path":"/a/b","value":"x"}]""", """{"a":{"b":"x"}}""")]
    [InlineData("""{"a":[1,2]}""", """[{"op":"replace","path":"/a/0","value":9}]""", """{"a":[9,2]}""")]
    [InlineData("""{"a":{"b":1},"c":{}}""", """[{"op":"move","from":"/a/b","path":"/c/d"}]""", """{"a":{},"c":{"d":1}}""")]
    [InlineData("""{"a":[1,2,3]}""", """[{"op":"move","from":"/a/0","path":"/a/2"}]""", """{"a":[2,3,1]}""")]
    [InlineData("""{"a":{"b":[1]}}""", """[{"op":"copy","from":"/a","path":"/a/c"}]""", """{"a":{"b":[1],"c":{"b":[1]}}}""")]
    [InlineData("""{"a":1}""", """[{"op":"test","path":"/a","value":1},{"op":"test","path":"/zz","value":null},{"op":"replace","path":"/a","value":2}]""", """{"a":2}""")]
    [InlineData("""{"x/y":1,"m~n":2}""", """[{"op":"remove","path":"/x~1y"},{"op":"replace","path":"/m~0n","value":3}]""", """{"m~n":3}""")]
    [InlineData("""{"a":1}""", """[{"op":"replace","path":"","value":{"b":2}}]""", """{"b":2}""")]
    [InlineData("""{"":{"":1}}""", """[{"op":"replace","path":"//","value":2}]""", """{"":{"":2}}""")]
    [InlineData("""{"a":1}""", """[]""", """{"a":1}""")]
    public void Apply_Operations_GiveExpected(string original, string patch, string expected)
    {
        var document = (JsonObject)JsonNode.Parse(original)!;

        var result = JsonPatch.Apply(document, Encoding.UTF8.GetBytes(patch));

        Assert.True(result.Succeeded, result.Error?.Message);
        PatchAssert.Equal(expected, result.Object);
        Assert.Equal(original, PatchAssert.Text(document));
    }

    [Theory]
    [InlineData(422, """[{"op":"test","path":"/a","value":2}]""", "testing value /a failed: test failed")]
    [InlineData(422, """[{"op":"test","path":"/zz","value":2}]""", "testing path /zz failed: missing value")]
    [InlineData(422, """[{"op":"remove","path":"/zz"}]""", "error in remove for path: '/zz': Unable to remove nonexistent key: zz: missing value")]
    [InlineData(422, """[{"op":"remove","path":"/zz/y"}]""", "remove operation does not apply: doc is missing path: \"/zz/y\": missing value")]
    [InlineData(422, """[{"op":"replace","path":"/zz","value":1}]""", "replace operation does not apply: doc is missing key: /zz: missing value")]
    [InlineData(422, """[{"op":"add","path":"/zz/y","value":1}]""", "add operation does not apply: doc is missing path: \"/zz/y\": missing value")]
    [InlineData(422, """[{"op":"add","path":"/l/9","value":1}]""", "add operation does not apply: Unable to access invalid index: 9: invalid index referenced")]
    [InlineData(422, """[{"op":"add","path":"/l/01","value":1}]""", "add operation does not apply: Unable to access invalid index: 01: invalid index referenced")]
    [InlineData(422, """[{"op":"move","from":"/zz","path":"/y"}]""", "error in move for path: '/zz': Unable to remove nonexistent key: zz: missing value")]
    [InlineData(422, """[{"op":"move","from":"/o","path":"/o/y"}]""", "move operation does not apply: \"/o/y\" is inside \"/o\"")]
    [InlineData(422, """[{"op":"copy","from":"/zz","path":"/y"}]""", "copy operation does not apply: doc is missing from path: \"/zz\": missing value")]
    [InlineData(422, """[{"op":"bogus","path":"/a"}]""", "Unexpected kind: bogus")]
    [InlineData(422, """[{"op":"add","path":"a","value":1}]""", "invalid JSON pointer \"a\"")]
    [InlineData(422, """[{"op":"add","value":1}]""", "add operation has no valid path")]
    [InlineData(422, """[{"op":"add","path":"/a"}]""", "add operation has no value")]
    [InlineData(422, """[{"op":"remove","path":""}]""", "remove operation does not apply: the whole document cannot be removed")]
    [InlineData(400, """[{"op":"replace","path":"","value":1}]""", "the patch leaves no object")]
    [InlineData(400, """{"op":"add"}""", "error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch")]
    [InlineData(400, """[1]""", "error decoding patch: json: cannot unmarshal into Go value of type jsonpatch.Operation")]
    [InlineData(400, """[""", "error decoding patch: unexpected end of JSON input")]
    public void Apply_WhatDoesNotFit_IsAnError(int code, string patch, string expected)
    {
        var document = (JsonObject)JsonNode.Parse("""{"a":1,"l":[1,2],"o":{}}""")!;

        var result = JsonPatch.Apply(document, Encoding.UTF8.GetBytes(patch));

        Assert.False(result.Succeeded);
        Assert.Equal((code, expected), (result.Error.Code, result.Error.Message));
        Assert.Equal("""{"a":1,"l":[1,2],"o":{}}""", PatchAssert.Text(document));
    }

    [Fact]
    public void Apply_TooManyOperations_IsTooLarge()
    {
        var patch = "[" + string.Join(',', Enumerable.Repeat("""{"op":"test","path":"/a","value":1}""", JsonPatch.MaxOperations + 1)) + "]";

        Assert.Equal(413, JsonPatch.Apply(new JsonObject(), Encoding.UTF8.GetBytes(patch)).Error!.Code);
    }

    [Fact]
    public void Apply_CopiesThatDouble_AreStopped()
    {
        // Each copy puts the whole of /a into itself: size and depth double every time.
        var patch = "[" + string.Join(',', Enumerable.Range(0, 64).Select(static n => $$"""{"op":"copy","from":"/a","path":"/a/n{{n}}"}""")) + "]";

        var result = JsonPatch.Apply((JsonObject)JsonNode.Parse("""{"a":{"x":"0123456789"}}""")!, Encoding.UTF8.GetBytes(patch));

        Assert.True(result.Error!.Code is 413 or 422);
    }

    [Fact]
    public void Apply_CopiesThatNest_AreStopped()
    {
        var patch = "[" + string.Join(',', Enumerable.Repeat("""{"op":"move","from":"/a","path":"/b"},{"op":"add","path":"/a","value":{}},{"op":"move","from":"/b","path":"/a/n"}""", 1000)) + "]";

        var result = JsonPatch.Apply((JsonObject)JsonNode.Parse("""{"a":{}}""")!, Encoding.UTF8.GetBytes(patch));

        Assert.Equal("exceeded max depth", result.Error!.Message);
    }
}
