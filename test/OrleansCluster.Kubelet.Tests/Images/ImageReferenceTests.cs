using OrleansCluster.Kubelet.Images;

namespace OrleansCluster.Kubelet.Tests.Images;

public sealed class ImageReferenceTests
{
    [Theory]
    [InlineData("busybox", "busybox", null, null, true)]
    [InlineData("busybox:1.36", "busybox", "1.36", null, false)]
    [InlineData("library/a_b__c-d.e:latest", "library/a_b__c-d.e", "latest", null, true)]
    [InlineData("registry.k8s.io/pause:3.10", "registry.k8s.io/pause", "3.10", null, false)]
    [InlineData("localhost:5000/x/y", "localhost:5000/x/y", null, null, true)]
    [InlineData("Host.Example:80/x", "Host.Example:80/x", null, null, true)]
    [InlineData("x@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "x", null, "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", false)]
    public void Names_are_taken_apart(string text, string repository, string? tag, string? digest, bool latest)
    {
        Assert.True(ImageReference.TryParse(text, out var reference));
        Assert.Equal(new ImageReference(repository, tag, digest), reference);
        Assert.Equal(latest, reference.IsLatest);
    }

    [Theory]
    [InlineData("")]
    [InlineData("Upper")]
    [InlineData("a b")]
    [InlineData("a:")]
    [InlineData("a//b")]
    [InlineData("a:-tag")]
    [InlineData("/a")]
    [InlineData("a/")]
    [InlineData("a@sha256:short")]
    [InlineData("UPPER/case")]
    public void Bad_names_are_refused(string text) => Assert.False(ImageReference.TryParse(text, out _));
}
